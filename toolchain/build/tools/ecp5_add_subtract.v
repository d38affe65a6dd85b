// SPDX-License-Identifier: Apache-2.0
//
// Techmap for Yosys: the library's add_subtract as one $alu, whose cells on ECP5 invert the second number where they add it. Yosys
// itself keeps the inverters apart, one look-up table a bit.

module add_subtract (a, b, subtract, result);
  parameter WIDTH = 1;
  input [WIDTH-1:0] a, b;
  input subtract;
  output [WIDTH-1:0] result;

  wire [WIDTH-1:0] propagated, carries;
  \$alu #(.A_SIGNED(0), .B_SIGNED(0), .A_WIDTH(WIDTH), .B_WIDTH(WIDTH), .Y_WIDTH(WIDTH)) sum (
    .A(a), .B(b), .CI(subtract), .BI(subtract), .X(propagated), .Y(result), .CO(carries)
  );
endmodule
