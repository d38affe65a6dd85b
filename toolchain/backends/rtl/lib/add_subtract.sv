// SPDX-License-Identifier: Apache-2.0
//
// Adds a number to another one, or subtracts it, by one carry chain.
//
//   Equation    result = subtract ? a - b : a + b  (modulo 2**WIDTH)
//   Latency     0 cycles, no register
//
// A subtraction is an addition of the inverted number with a carry: the carry comes from a place below the lowest, which is one
// and one where it is asked for, since an adder's carry input is not every tool's.
`default_nettype none

module add_subtract #(
  parameter int unsigned WIDTH = 8  // bits of all three numbers
) (
  input  wire logic [WIDTH-1:0] a,
  input  wire logic [WIDTH-1:0] b,
  input  wire logic             subtract,
  output logic [WIDTH-1:0]      result
);
  if (WIDTH < 1) begin : g_check
    $fatal(1, "%m: WIDTH must be at least 1; got %0d", WIDTH);
  end

  /* verilator lint_off UNUSEDSIGNAL */  // the place below the lowest has no result
  logic [WIDTH:0] sum;
  /* verilator lint_on UNUSEDSIGNAL */
  assign sum    = {a, 1'b1} + {b ^ {WIDTH{subtract}}, subtract};
  assign result = sum[WIDTH:1];
endmodule

`default_nettype wire
