// SPDX-License-Identifier: Apache-2.0
//
// Brings an element to another binary point and width: shifted left, extended by its own kind of number.
//
//   Equation    y = x * 2**SHIFT (modulo 2**OUTPUT_WIDTH)
//   Latency     0: wires alone, no register and no clock
//   Throughput  a new x and its y at any time
//   Reset       none: there is no state
`default_nettype none

module align #(
  parameter int unsigned WIDTH        = 8,     // bits of x
  parameter bit          SIGNED       = 1'b1,  // x is two's complement
  parameter int unsigned SHIFT        = 0,     // bits by which x is shifted left
  parameter int unsigned OUTPUT_WIDTH = 8      // bits of y
) (
  input  wire logic [WIDTH-1:0]   x,
  output logic [OUTPUT_WIDTH-1:0] y
);
  if (WIDTH < 1 || OUTPUT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: WIDTH and OUTPUT_WIDTH must be at least 1; got %0d and %0d", WIDTH, OUTPUT_WIDTH);
  end

  // Bits above OUTPUT_WIDTH are dropped on purpose: y is modular.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [WIDTH+SHIFT+OUTPUT_WIDTH-1:0] extended;
  /* verilator lint_on UNUSEDSIGNAL */
  assign extended = {{OUTPUT_WIDTH{SIGNED && x[WIDTH-1]}}, (WIDTH + SHIFT)'(x) << SHIFT};
  assign y        = extended[OUTPUT_WIDTH-1:0];
endmodule

`default_nettype wire
