// SPDX-License-Identifier: Apache-2.0
//
// Product of two two's complement numbers, with a registered output.
//
//   Equation    product(t + 1) = a(t) * b(t)  (modulo 2**PRODUCT_WIDTH)
//   Latency     1 cycle
//   Throughput  one product a cycle
//   Reset       none; the pipeline runs freely
`default_nettype none

module multiplier #(
  parameter int unsigned A_WIDTH       = 8,   // bits of a
  parameter int unsigned B_WIDTH       = 8,   // bits of b
  parameter int unsigned PRODUCT_WIDTH = 16,  // bits of the product
  parameter int unsigned STYLE         = 0    // 0: the synthesis tool decides, 1: LUTs, 2: DSP block
) (
  input  wire logic                      clk,
  input  wire logic signed [A_WIDTH-1:0] a,
  input  wire logic signed [B_WIDTH-1:0] b,
  output logic [PRODUCT_WIDTH-1:0]       product
);
  if (A_WIDTH < 1 || B_WIDTH < 1 || PRODUCT_WIDTH < 1 || STYLE > 2) begin : g_check
    $fatal(1, "%m: widths must be at least 1 and STYLE 0, 1 or 2; got %0d, %0d, %0d and %0d",
           A_WIDTH, B_WIDTH, PRODUCT_WIDTH, STYLE);
  end

  localparam int unsigned EXACT_WIDTH = A_WIDTH + B_WIDTH;
  localparam int unsigned WIDTH       = (EXACT_WIDTH > PRODUCT_WIDTH) ? EXACT_WIDTH : PRODUCT_WIDTH;

  // Bits above PRODUCT_WIDTH are dropped on purpose: the sums that follow are modular.
  /* verilator lint_off UNUSEDSIGNAL */
  logic signed [WIDTH-1:0] exact;
  /* verilator lint_on UNUSEDSIGNAL */
  assign exact = WIDTH'(a) * WIDTH'(b);
  always_ff @(posedge clk) product <= exact[PRODUCT_WIDTH-1:0];
endmodule

`default_nettype wire
