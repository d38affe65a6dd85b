// SPDX-License-Identifier: Apache-2.0
//
// Simulation model of a 4-input look-up table. Yosys has one as well; written as one look-up, it compiles in half the time.
//
//   Equation    Z = INIT[{D, C, B, A}]
`default_nettype none

module LUT4 #(
  parameter logic [15:0] INIT = '0  // output for each input, A in the lowest bit of the index
) (
  input  wire logic A,
  input  wire logic B,
  input  wire logic C,
  input  wire logic D,
  output wire logic Z
);
  assign Z = INIT[{D, C, B, A}];
endmodule

`default_nettype wire
