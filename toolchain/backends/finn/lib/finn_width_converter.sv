// SPDX-License-Identifier: Apache-2.0
//
// FINN's data width converter with this project's ports.
//
//   Function    the same bits in beats of another width, the low bits first
//   Throughput  a beat a cycle on the narrower side
//   Reset       synchronous, active high: the next beat that comes in begins a beat that goes out
`default_nettype none

module finn_width_converter #(
  parameter int unsigned INPUT_WIDTH  = 8,  // bits of a beat that comes in
  parameter int unsigned OUTPUT_WIDTH = 4   // bits of a beat that goes out
) (
  input  wire logic                    clk,
  input  wire logic                    rst,
  input  wire logic [ INPUT_WIDTH-1:0] s_axis_tdata,
  input  wire logic                    s_axis_tvalid,
  output logic                         s_axis_tready,
  output logic      [OUTPUT_WIDTH-1:0] m_axis_tdata,
  output logic                         m_axis_tvalid,
  input  wire logic                    m_axis_tready
);
  // FINN's streams are whole bytes wide.
  localparam int unsigned INPUT_BYTES  = (INPUT_WIDTH + 7) / 8;
  localparam int unsigned OUTPUT_BYTES = (OUTPUT_WIDTH + 7) / 8;
  logic [OUTPUT_BYTES*8-1:0] result;
  dwc_axi #(
    .IBITS(INPUT_WIDTH),
    .OBITS(OUTPUT_WIDTH)
  ) u_converter (
    .ap_clk(clk),
    .ap_rst_n(!rst),
    .s_axis_tdata((INPUT_BYTES * 8)'(s_axis_tdata)),
    .s_axis_tvalid(s_axis_tvalid),
    .s_axis_tready(s_axis_tready),
    .m_axis_tdata(result),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
  assign m_axis_tdata = result[OUTPUT_WIDTH-1:0];
endmodule

`default_nettype wire
