// SPDX-License-Identifier: Apache-2.0
//
// FINN's FIFO with this project's ports.
//
//   Function    the beats that come in go out, in order; at least five are held, at least DEPTH where that is more
//   Latency     2 cycles
//   Throughput  a beat a cycle
//   Reset       synchronous, active high: the FIFO is empty
`default_nettype none

module finn_fifo #(
  parameter int unsigned DATA_WIDTH = 8,  // bits of a beat
  parameter int unsigned DEPTH      = 2   // beats, 2 or more
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic [DATA_WIDTH-1:0] s_axis_tdata,
  input  wire logic                  s_axis_tvalid,
  output logic                       s_axis_tready,
  output logic      [DATA_WIDTH-1:0] m_axis_tdata,
  output logic                       m_axis_tvalid,
  input  wire logic                  m_axis_tready
);
  fifo #(
    .DEPTH(DEPTH),
    .DATA_WIDTH(DATA_WIDTH)
  ) u_fifo (
    .clk(clk),
    .rst(rst),
    .idat(s_axis_tdata),
    .ivld(s_axis_tvalid),
    .irdy(s_axis_tready),
    .odat(m_axis_tdata),
    .ovld(m_axis_tvalid),
    .ordy(m_axis_tready),
    .count(),
    .maxcount()
  );
endmodule

`default_nettype wire
