// SPDX-License-Identifier: Apache-2.0
//
// Sums over the columns of a matrix-vector product whose weights are signs and whose elements are bits: counts of ones.
//
//   Equation    sums[p](t) = sum over s of (weights[p*SIMD+s](t - L + 1) ? -1 : +1) * elements[s](t - L)  (modulo 2**SUM_WIDTH)
//   Latency     L = 3 + ceil(ceil(log2(SIMD)) / ADDER_LEVELS) cycles from the elements, and one less from the weights
//   Throughput  PE sums a cycle
//   Reset       none; the pipeline runs freely
//
// A sum is the ones among the elements, less twice those whose weight is negative. The ones are counted once for several rows. For
// elements of -1 and +1, told apart by a bit, this is the count behind XNOR gates, but for a constant (passes/encode_signs.py).
`default_nettype none

module column_sum_counts #(
  parameter int unsigned SIMD         = 4,  // columns
  parameter int unsigned PE           = 2,  // rows
  parameter int unsigned SUM_WIDTH    = 4,  // bits of a sum, at least 2
  parameter int unsigned ADDER_LEVELS = 1   // levels of the adder tree between two registers
) (
  input  wire logic                    clk,
  input  wire logic [SIMD-1:0]         elements,
  input  wire logic [PE*SIMD-1:0]      weights,  // a cycle behind the elements; row by row
  output logic [PE*SUM_WIDTH-1:0]      sums      // row 0 in the least significant bits
);
  if (SIMD < 1 || PE < 1 || SUM_WIDTH < 2 || ADDER_LEVELS < 1) begin : g_check
    $fatal(1, "%m: SIMD, PE and ADDER_LEVELS must be at least 1 and SUM_WIDTH at least 2; got %0d, %0d, %0d and %0d",
           SIMD, PE, ADDER_LEVELS, SUM_WIDTH);
  end

  localparam int unsigned TRIPLES     = (SIMD + 2) / 3;
  localparam int unsigned TREE        = ($clog2(TRIPLES) + ADDER_LEVELS - 1) / ADDER_LEVELS;
  // Cycles that a tree over single bits would take longer.
  localparam int unsigned SPARE       = ($clog2(SIMD) + ADDER_LEVELS - 1) / ADDER_LEVELS - TREE;
  localparam int unsigned FULL_COUNT  = $clog2(SIMD + 1) + 1;
  // Two's complement of one bit above a triple's count; and modular from there on, as all sums are.
  localparam int unsigned LEAF_WIDTH  = (SUM_WIDTH < 3) ? SUM_WIDTH : 3;
  localparam int unsigned COUNT_WIDTH = (SUM_WIDTH < FULL_COUNT) ? SUM_WIDTH : (FULL_COUNT < LEAF_WIDTH) ? LEAF_WIDTH : FULL_COUNT;
  // Rows that share the count of all ones, and the elements: more would be too far apart.
  localparam int unsigned SHARE       = 8;

  for (genvar c = 0; c < (PE + SHARE - 1) / SHARE; c++) begin : g_share
    (* keep = "true" *) logic [SIMD-1:0] ones;
    (* keep = "true" *) always_ff @(posedge clk) ones <= elements;
    localparam int unsigned ROWS = (PE - c * SHARE < SHARE) ? PE - c * SHARE : SHARE;
    logic [COUNT_WIDTH-1:0] all;
    // Counter `ROWS` counts all ones, the others those of their row.
    for (genvar r = 0; r <= ROWS; r++) begin : g_count
      logic [3*TRIPLES-1:0]          bits;
      logic [TRIPLES*LEAF_WIDTH-1:0] triples;
      logic [COUNT_WIDTH-1:0]        count;
      logic [COUNT_WIDTH-1:0]        delayed [SPARE+1];
      if (r == ROWS) begin : g_all
        assign bits = (3 * TRIPLES)'(ones);
      end else begin : g_row
        assign bits = (3 * TRIPLES)'(ones & weights[(c*SHARE+r)*SIMD +: SIMD]);
      end
      for (genvar t = 0; t < TRIPLES; t++) begin : g_triple
        always_ff @(posedge clk)
          triples[t*LEAF_WIDTH +: LEAF_WIDTH] <=
              LEAF_WIDTH'(bits[3*t]) + LEAF_WIDTH'(bits[3*t+1]) + LEAF_WIDTH'(bits[3*t+2]);
      end
      adder_tree #(
        .OPERANDS        (TRIPLES),
        .OPERAND_WIDTH   (LEAF_WIDTH),
        .SUM_WIDTH       (COUNT_WIDTH),
        .LEVELS_PER_STAGE(ADDER_LEVELS)
      ) u_tree (
        .clk     (clk),
        .subtract('0),
        .operands(triples),
        .sum     (count)
      );
      assign delayed[0] = count;
      for (genvar d = 1; d <= SPARE; d++) begin : g_delay
        always_ff @(posedge clk) delayed[d] <= delayed[d-1];
      end
      if (r == ROWS) begin : g_share_count
        assign all = delayed[SPARE];
      end else begin : g_sum
        always_ff @(posedge clk)
          sums[(c*SHARE+r)*SUM_WIDTH +: SUM_WIDTH] <=
              SUM_WIDTH'($signed(all)) - (SUM_WIDTH'($signed(delayed[SPARE])) << 1);
      end
    end
  end
endmodule

`default_nettype wire
