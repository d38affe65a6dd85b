// SPDX-License-Identifier: Apache-2.0
//
// Sums over the columns of a matrix-vector product whose weights are narrow, by digits of two bits, without multipliers.
//
//   Equation    sums[p](t) = sum over s of W[p][s](t - L + 1) * x[s](t - L)  (modulo 2**SUM_WIDTH)
//   Latency     L = 3 + ceil(ceil(log2(SIMD)) / ADDER_LEVELS) cycles from the elements, and one less from the weights
//   Throughput  PE sums a cycle
//   Reset       none; the pipeline runs freely
//
// A digit of a weight selects a multiple of the element: 0, 1, 2 or 3 times (lower digit), or 0, 1, -2 or -1 times (upper digit,
// which has the weight's sign). The multiples are made once for several rows, so that a row has but a multiplexer a digit and
// column, and a tree of adders a digit; its two sums are added last. That takes somewhat fewer LUTs than multipliers made of
// adders (5 % of the whole 16-64-32-5 network of benchmarks/finn_rtl.py).
`default_nettype none

module column_sum_digits #(
  parameter int unsigned SIMD         = 4,     // columns
  parameter int unsigned PE           = 2,     // rows
  parameter int unsigned INPUT_WIDTH  = 4,     // bits of an element
  parameter bit          INPUT_SIGNED = 1'b0,  // elements are two's complement
  parameter int unsigned WEIGHT_WIDTH = 4,     // bits of a weight, at most 4; if odd, the lowest digit has one
  // 0: weights are two's complement (one bit: 0 or -1). 1: signs, one bit: 0 is +1 and 1 is -1. 2: two bits, never -2
  parameter int unsigned WEIGHT_KIND  = 0,
  parameter int unsigned SUM_WIDTH    = 10,    // bits of a sum
  parameter int unsigned ADDER_LEVELS = 1      // levels of the adder tree between two registers
) (
  input  wire logic                            clk,
  input  wire logic [SIMD*INPUT_WIDTH-1:0]     elements,
  input  wire logic [PE*SIMD*WEIGHT_WIDTH-1:0] weights,  // a cycle behind the elements; row by row
  output logic [PE*SUM_WIDTH-1:0]              sums      // row 0 in the least significant bits
);
  if (SIMD < 1 || PE < 1 || INPUT_WIDTH < 1 || SUM_WIDTH < 1 || ADDER_LEVELS < 1) begin : g_check
    $fatal(1, "%m: all widths and numbers must be at least 1; got %0d, %0d, %0d, %0d and %0d",
           SIMD, PE, INPUT_WIDTH, SUM_WIDTH, ADDER_LEVELS);
  end
  if (WEIGHT_WIDTH < 1 || WEIGHT_WIDTH > 4 || WEIGHT_KIND > 2 || (WEIGHT_KIND != 0 && WEIGHT_WIDTH != WEIGHT_KIND))
  begin : g_check_weights
    $fatal(1, "%m: WEIGHT_WIDTH must be 1 to 4 and WEIGHT_KIND 0, or 1 or 2 with WEIGHT_WIDTH the same; got %0d and %0d",
           WEIGHT_WIDTH, WEIGHT_KIND);
  end

  localparam int unsigned LOW_BITS   = (WEIGHT_WIDTH > 2) ? WEIGHT_WIDTH - 2 : 0;  // of a weight, in the lower digit
  localparam int unsigned HIGH_BITS  = WEIGHT_WIDTH - LOW_BITS;
  localparam int unsigned DIGIT_SPAN = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1) + 2;   // bits of every multiple
  localparam int unsigned HIGH_SUM   = (SUM_WIDTH > LOW_BITS) ? SUM_WIDTH - LOW_BITS : 1;
  localparam int unsigned LOW_WIDTH  = (DIGIT_SPAN < SUM_WIDTH) ? DIGIT_SPAN : SUM_WIDTH;
  localparam int unsigned HIGH_WIDTH = (DIGIT_SPAN < HIGH_SUM) ? DIGIT_SPAN : HIGH_SUM;
  // Rows that share the multiples: more would be too far apart.
  localparam int unsigned SHARE      = 8;

  for (genvar c = 0; c < (PE + SHARE - 1) / SHARE; c++) begin : g_share
    logic [SIMD*DIGIT_SPAN-1:0] once;
    logic [SIMD*DIGIT_SPAN-1:0] negated;
    /* verilator lint_off UNUSEDSIGNAL */  // only a lower digit of two bits has it
    logic [SIMD*DIGIT_SPAN-1:0] thrice;
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
    logic [SIMD*HIGH_WIDTH-1:0] high_products;
    /* verilator lint_off UNUSEDSIGNAL */  // sums of two bits or less do not see the upper digits
    logic [HIGH_SUM-1:0]        high_sum;
    /* verilator lint_on UNUSEDSIGNAL */
    for (genvar s = 0; s < SIMD; s++) begin : g_column
      /* verilator lint_off UNUSEDSIGNAL */  // sums are modular: bits above theirs have no influence
      logic [DIGIT_SPAN-1:0] once;
      logic [DIGIT_SPAN-1:0] negated;
      logic [DIGIT_SPAN-1:0] product;
      /* verilator lint_on UNUSEDSIGNAL */
      logic [HIGH_BITS-1:0]  digit;
      assign once    = g_share[p/SHARE].once[s*DIGIT_SPAN +: DIGIT_SPAN];
      assign negated = g_share[p/SHARE].negated[s*DIGIT_SPAN +: DIGIT_SPAN];
      assign digit   = weights[(p*SIMD+s)*WEIGHT_WIDTH+LOW_BITS +: HIGH_BITS];
      if (WEIGHT_KIND == 1) begin : g_sign
        assign product = digit[0] ? negated : once;
      end else if (WEIGHT_KIND == 2) begin : g_ternary
        assign product = digit[0] ? (digit[1] ? negated : once) : '0;
      end else if (HIGH_BITS == 2) begin : g_two_bits
        assign product = digit[1] ? (digit[0] ? negated : negated << 1) : (digit[0] ? once : '0);
      end else begin : g_one_bit
        assign product = digit[0] ? negated : '0;
      end
      always_ff @(posedge clk) high_products[s*HIGH_WIDTH +: HIGH_WIDTH] <= product[HIGH_WIDTH-1:0];
    end
    adder_tree #(
      .OPERANDS        (SIMD),
      .OPERAND_WIDTH   (HIGH_WIDTH),
      .SUM_WIDTH       (HIGH_SUM),
      .LEVELS_PER_STAGE(ADDER_LEVELS)
    ) u_high_tree (
      .clk     (clk),
      .subtract('0),
      .operands(high_products),
      .sum     (high_sum)
    );

    if (LOW_BITS == 0) begin : g_one_digit
      always_ff @(posedge clk) sums[p*SUM_WIDTH +: SUM_WIDTH] <= high_sum;
    end else begin : g_two_digits
      logic [SIMD*LOW_WIDTH-1:0] low_products;
      logic [SUM_WIDTH-1:0]      low_sum;
      for (genvar s = 0; s < SIMD; s++) begin : g_column
        /* verilator lint_off UNUSEDSIGNAL */  // sums are modular: bits above theirs have no influence
        logic [DIGIT_SPAN-1:0] once;
        logic [DIGIT_SPAN-1:0] product;
        /* verilator lint_on UNUSEDSIGNAL */
        logic [LOW_BITS-1:0]   digit;
        assign once  = g_share[p/SHARE].once[s*DIGIT_SPAN +: DIGIT_SPAN];
        assign digit = weights[(p*SIMD+s)*WEIGHT_WIDTH +: LOW_BITS];
        if (LOW_BITS == 2) begin : g_two_bits
          logic [DIGIT_SPAN-1:0] thrice;
          assign thrice  = g_share[p/SHARE].thrice[s*DIGIT_SPAN +: DIGIT_SPAN];
          assign product = digit[1] ? (digit[0] ? thrice : once << 1) : (digit[0] ? once : '0);
        end else begin : g_one_bit
          assign product = digit[0] ? once : '0;
        end
        always_ff @(posedge clk) low_products[s*LOW_WIDTH +: LOW_WIDTH] <= product[LOW_WIDTH-1:0];
      end
      adder_tree #(
        .OPERANDS        (SIMD),
        .OPERAND_WIDTH   (LOW_WIDTH),
        .SUM_WIDTH       (SUM_WIDTH),
        .LEVELS_PER_STAGE(ADDER_LEVELS)
      ) u_low_tree (
        .clk     (clk),
        .subtract('0),
        .operands(low_products),
        .sum     (low_sum)
      );
      if (SUM_WIDTH > LOW_BITS) begin : g_add
        // The lowest bits come from the lower digits alone.
        always_ff @(posedge clk) begin
          sums[p*SUM_WIDTH +: LOW_BITS]                    <= low_sum[LOW_BITS-1:0];
          sums[p*SUM_WIDTH+LOW_BITS +: SUM_WIDTH-LOW_BITS] <= high_sum + low_sum[SUM_WIDTH-1:LOW_BITS];
        end
      end else begin : g_low_alone
        always_ff @(posedge clk) sums[p*SUM_WIDTH +: SUM_WIDTH] <= low_sum;
      end
    end
  end
endmodule

`default_nettype wire
