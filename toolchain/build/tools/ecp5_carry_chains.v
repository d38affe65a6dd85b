// SPDX-License-Identifier: Apache-2.0
//
// Techmap for Yosys: adders, subtractions and comparisons ($alu) as carry chains of ECP5's CCU2C, made so that nextpnr-ecp5 adds
// nothing to them (docs/decisions/0014-carry-chains.md).
//
//   Carry in    made by the first half of the first cell, whose first look-up table is zero and whose carry is its input A0: it
//               does not depend on the cell's CIN, which may be left open
//   Carry out   of bit i is found from the bit's inputs and its sum, not taken from the chain, from where it would need a way out
//
// Sums of up to four bits are left to look-up tables, as in Yosys' own map.

(* techmap_celltype = "$alu" *)
module bitwright_carry_chain (A, B, CI, BI, X, Y, CO);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  (* force_downto *)
  input [A_WIDTH-1:0] A;
  (* force_downto *)
  input [B_WIDTH-1:0] B;
  input CI, BI;
  (* force_downto *)
  output [Y_WIDTH-1:0] X, Y, CO;

  wire _TECHMAP_FAIL_ = Y_WIDTH <= 4;

  // Both look-up tables add: A ^ B ^ C, with A as the carry where A and B ^ C are equal. C turns an addition into a subtraction.
  localparam [15:0] ADD = 16'h96AA;
  // The look-up table is zero for D = 1; the carry is A.
  localparam [15:0] CARRY_IN = 16'h000A;

  localparam CELLS = (Y_WIDTH + 2) / 2;
  wire [Y_WIDTH-1:0] a, b;
  \$pos #(.A_SIGNED(A_SIGNED), .A_WIDTH(A_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_a (.A(A), .Y(a));
  \$pos #(.A_SIGNED(B_SIGNED), .A_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_b (.A(B), .Y(b));

  // One place below bit 0 for the carry, and one above where the number of places would be odd.
  wire [2*CELLS-1:0] places_a = {1'b0, a, CI};
  wire [2*CELLS-1:0] places_b = {1'b0, b, 1'b0};
  wire [2*CELLS-1:0] sum;
  wire [CELLS-1:0]   carry;
  genvar i;
  generate
    for (i = 0; i < CELLS; i = i + 1) begin : g_cell
      if (i == 0) begin
        CCU2C #(.INIT0(CARRY_IN), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) first (
          .CIN(1'b0),
          .A0(places_a[0]), .B0(1'b0), .C0(1'b1), .D0(1'b1),
          .A1(places_a[1]), .B1(places_b[1]), .C1(BI), .D1(1'b1),
          .S1(sum[1]), .COUT(carry[0])
        );
      end else begin
        CCU2C #(.INIT0(ADD), .INIT1(ADD), .INJECT1_0("NO"), .INJECT1_1("NO")) further (
          .CIN(carry[i-1]),
          .A0(places_a[2*i]), .B0(places_b[2*i]), .C0(BI), .D0(1'b1),
          .A1(places_a[2*i+1]), .B1(places_b[2*i+1]), .C1(BI), .D1(1'b1),
          .S0(sum[2*i]), .S1(sum[2*i+1]), .COUT(carry[i])
        );
      end
    end
  endgenerate

  wire [Y_WIDTH-1:0] addend = BI ? ~b : b;
  assign Y  = sum[Y_WIDTH:1];
  assign X  = a ^ addend;
  assign CO = (a & addend) | ((a | addend) & ~Y);
endmodule
