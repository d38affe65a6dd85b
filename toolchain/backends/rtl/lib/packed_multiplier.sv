// SPDX-License-Identifier: Apache-2.0
//
// Several products with one factor in common, out of one wide multiplier.
//
//   Equation    products[i](t + 2) = a(t) * b_i(t)  (modulo 2**PRODUCT_WIDTH), i = 0 .. COUNT-1, where
//               packed_b = sum over i of b_i * 2**(i * (A_WIDTH + B_WIDTH)) and every b_i has B_WIDTH bits, in two's
//               complement; the sum itself can need one bit more than the highest b_i has
//   Latency     2 cycles
//   Throughput  COUNT products a cycle
//   Reset       none; the pipeline runs freely
//
// The wide product is the sum of the products, each A_WIDTH + B_WIDTH bits above the one below. A negative product borrows
// one from the next, which is given back behind the multiplier: that costs an adder of a product's width, and no multiplier.
`default_nettype none

module packed_multiplier #(
  parameter int unsigned COUNT         = 2,   // products
  parameter int unsigned A_WIDTH       = 6,   // bits of a
  parameter int unsigned B_WIDTH       = 5,   // bits of each b_i
  parameter int unsigned PRODUCT_WIDTH = 11   // bits of each product
) (
  input  wire logic                                                clk,
  input  wire logic signed [A_WIDTH-1:0]                           a,
  input  wire logic signed [(COUNT-1)*(A_WIDTH+B_WIDTH)+B_WIDTH:0] packed_b,
  output logic [COUNT*PRODUCT_WIDTH-1:0]                           products  // product 0 in the least significant bits
);
  if (COUNT < 1 || A_WIDTH < 1 || B_WIDTH < 1 || PRODUCT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: COUNT and the widths must be at least 1; got %0d, %0d, %0d and %0d",
           COUNT, A_WIDTH, B_WIDTH, PRODUCT_WIDTH);
  end

  localparam int unsigned SLOT  = A_WIDTH + B_WIDTH;
  localparam int unsigned WIDTH = COUNT * SLOT;

  (* use_dsp = "yes", multstyle = "dsp", syn_multstyle = "block_mult" *) logic signed [WIDTH-1:0] block;
  logic [WIDTH-1:0] exact;
  assign block = WIDTH'(a) * WIDTH'(packed_b);
  always_ff @(posedge clk) exact <= block;

  for (genvar i = 0; i < COUNT; i++) begin : g_product
    logic                   borrowed;
    logic signed [SLOT-1:0] slot;
    // Bits above PRODUCT_WIDTH are dropped on purpose: the sums that follow are modular.
    /* verilator lint_off UNUSEDSIGNAL */
    logic signed [((SLOT > PRODUCT_WIDTH) ? SLOT : PRODUCT_WIDTH)-1:0] product;
    /* verilator lint_on UNUSEDSIGNAL */
    assign slot = exact[i*SLOT +: SLOT];
    if (i == 0) begin : g_lowest
      assign borrowed = 1'b0;
    end else begin : g_above
      assign borrowed = exact[i*SLOT-1];
    end
    assign product = $bits(product)'(slot) + $bits(product)'({1'b0, borrowed});
    always_ff @(posedge clk) products[i*PRODUCT_WIDTH +: PRODUCT_WIDTH] <= product[PRODUCT_WIDTH-1:0];
  end
endmodule

`default_nettype wire
