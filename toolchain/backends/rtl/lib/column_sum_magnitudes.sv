// SPDX-License-Identifier: Apache-2.0
//
// Sums over the columns of a matrix-vector product whose weights are -3 .. 3, as signs and magnitudes.
//
//   Equation    sums[p](t) = (subtracts[p](t) ? -1 : +1) * sum over s of W[p][s](t - L + 1) * x[s](t - L)  (modulo 2**SUM_WIDTH);
//               where SIGNED_SUMS, subtracts is 0
//   Weights     three bits: two of magnitude, below one that says, in column 0, whether the weight is negative, and in column
//               s > 0 whether its sign differs from that of column s & (s-1): see adder_tree
//   Latency     L = 3 + ceil(ceil(log2(SIMD)) / ADDER_LEVELS) cycles from the elements, and one less from the weights
//   Throughput  PE sums a cycle
//   Reset       none; the pipeline runs freely
//
// A magnitude selects 0, 1, 2 or 3 times the element. One tree adds and subtracts, and the sign of the whole sum, that of column 0,
// is left to what takes it; an accumulator takes it for nothing, where an adder of its own is needed for SIGNED_SUMS.
`default_nettype none

module column_sum_magnitudes #(
  parameter int unsigned SIMD         = 4,     // columns
  parameter int unsigned PE           = 2,     // rows
  parameter int unsigned INPUT_WIDTH  = 4,     // bits of an element
  parameter bit          INPUT_SIGNED = 1'b0,  // elements are two's complement
  parameter int unsigned SUM_WIDTH    = 9,     // bits of a sum
  parameter bit          SIGNED_SUMS  = 1'b0,  // the sums have their signs
  parameter int unsigned ADDER_LEVELS = 1      // levels of the adder tree between two registers
) (
  input  wire logic                        clk,
  input  wire logic [SIMD*INPUT_WIDTH-1:0] elements,
  input  wire logic [PE*SIMD*3-1:0]        weights,   // a cycle behind the elements; row by row
  output logic [PE*SUM_WIDTH-1:0]          sums,      // row 0 in the least significant bits
  output logic [PE-1:0]                    subtracts  // the row's sum counts negative
);
  if (SIMD < 1 || PE < 1 || INPUT_WIDTH < 1 || SUM_WIDTH < 1 || ADDER_LEVELS < 1) begin : g_check
    $fatal(1, "%m: all widths and numbers must be at least 1; got %0d, %0d, %0d, %0d and %0d",
           SIMD, PE, INPUT_WIDTH, SUM_WIDTH, ADDER_LEVELS);
  end

  localparam int unsigned TREE_STAGES = ($clog2(SIMD) + ADDER_LEVELS - 1) / ADDER_LEVELS;
  localparam int unsigned SPAN        = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1) + 2;   // bits of every multiple
  localparam int unsigned WIDTH       = (SPAN < SUM_WIDTH) ? SPAN : SUM_WIDTH;      // bits of a product
  // Rows that share the multiples: more would be too far apart.
  localparam int unsigned SHARE       = 8;

  for (genvar c = 0; c < (PE + SHARE - 1) / SHARE; c++) begin : g_share
    logic [SIMD*SPAN-1:0] once;
    logic [SIMD*SPAN-1:0] thrice;
    /* verilator lint_off UNUSEDSIGNAL */  // the adders subtract
    logic [SIMD*SPAN-1:0] negated;
    /* verilator lint_on UNUSEDSIGNAL */
    element_multiples #(
      .SIMD        (SIMD),
      .INPUT_WIDTH (INPUT_WIDTH),
      .INPUT_SIGNED(INPUT_SIGNED)
    ) u_multiples (
      .clk     (clk),
      .elements(elements),
      .once    (once),
      .negated (negated),
      .thrice  (thrice)
    );
  end

  for (genvar p = 0; p < PE; p++) begin : g_row
    logic [SIMD*WIDTH-1:0] products;
    logic [SIMD-1:0]       signs;
    logic [SUM_WIDTH-1:0]  sum;
    for (genvar s = 0; s < SIMD; s++) begin : g_column
      /* verilator lint_off UNUSEDSIGNAL */  // sums are modular: bits above theirs have no influence
      logic [SPAN-1:0] once;
      logic [SPAN-1:0] product;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [SPAN-1:0] thrice;
      logic [1:0]      magnitude;
      assign once      = g_share[p/SHARE].once[s*SPAN +: SPAN];
      assign thrice    = g_share[p/SHARE].thrice[s*SPAN +: SPAN];
      assign magnitude = weights[(p*SIMD+s)*3 +: 2];
      assign product   = magnitude[1] ? (magnitude[0] ? thrice : once << 1) : (magnitude[0] ? once : '0);
      always_ff @(posedge clk) begin
        products[s*WIDTH +: WIDTH] <= product[WIDTH-1:0];
        signs[s]                   <= weights[(p*SIMD+s)*3+2];
      end
    end
    adder_tree #(
      .OPERANDS        (SIMD),
      .OPERAND_WIDTH   (WIDTH),
      .SUM_WIDTH       (SUM_WIDTH),
      .LEVELS_PER_STAGE(ADDER_LEVELS),
      .SUBTRACTS       (1'b1)
    ) u_tree (
      .clk     (clk),
      .subtract(signs),
      .operands(products),
      .sum     (sum)
    );
    logic [TREE_STAGES:0] negative;  // bit k: after k stages of the tree
    assign negative[0] = signs[0];
    for (genvar k = 1; k <= TREE_STAGES; k++) begin : g_delay
      always_ff @(posedge clk) negative[k] <= negative[k-1];
    end
    if (SIGNED_SUMS) begin : g_sign
      logic [SUM_WIDTH-1:0] signed_sum;
      add_subtract #(
        .WIDTH(SUM_WIDTH)
      ) u_sign (
        .a       ('0),
        .b       (sum),
        .subtract(negative[TREE_STAGES]),
        .result  (signed_sum)
      );
      always_ff @(posedge clk) sums[p*SUM_WIDTH +: SUM_WIDTH] <= signed_sum;
      assign subtracts[p] = 1'b0;
    end else begin : g_left
      always_ff @(posedge clk) begin
        sums[p*SUM_WIDTH +: SUM_WIDTH] <= sum;
        subtracts[p]                   <= negative[TREE_STAGES];
      end
    end
  end
endmodule

`default_nettype wire
