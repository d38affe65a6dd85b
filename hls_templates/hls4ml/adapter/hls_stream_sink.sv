// SPDX-License-Identifier: Apache-2.0
//
// Joins the stream ports of an HLS module, one for the whole beat or one for each lane, into beats, and marks the last of a frame.
//
//   Equation    word p of beat j is the j-th word of port p
//   Latency     one cycle after the last of a beat's words
//   Throughput  one beat a cycle
//   Reset       drops what is inside; the next beat is the first of a frame
`default_nettype none

module hls_stream_sink #(
  parameter int unsigned PORTS = 1,  // stream ports of the module
  parameter int unsigned WIDTH = 8,  // bits of a port
  parameter int unsigned BEATS = 1   // beats of a frame
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [PORTS*WIDTH-1:0] port_tdata,
  input  wire logic [PORTS-1:0]       port_tvalid,
  output logic [PORTS-1:0]            port_tready,
  output logic [PORTS*WIDTH-1:0]      m_axis_tdata,
  output logic                        m_axis_tvalid,
  input  wire logic                   m_axis_tready,
  output logic                        m_axis_tlast
);
  localparam int unsigned COUNT_WIDTH = $clog2(BEATS + 1);

  logic [PORTS-1:0]       here;
  logic [COUNT_WIDTH-1:0] beat;

  assign m_axis_tvalid = &here;
  assign m_axis_tlast  = beat == COUNT_WIDTH'(BEATS - 1);

  for (genvar port = 0; port < PORTS; port++) begin : g_port
    skid_buffer #(
      .DATA_WIDTH(WIDTH)
    ) u_buffer (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (port_tdata[port*WIDTH+:WIDTH]),
      .s_axis_tvalid(port_tvalid[port]),
      .s_axis_tready(port_tready[port]),
      .m_axis_tdata (m_axis_tdata[port*WIDTH+:WIDTH]),
      .m_axis_tvalid(here[port]),
      .m_axis_tready(m_axis_tready && m_axis_tvalid)
    );
  end

  always_ff @(posedge clk) begin
    if (rst) beat <= '0;
    else if (m_axis_tvalid && m_axis_tready) beat <= m_axis_tlast ? '0 : beat + 1'b1;
  end
endmodule

`default_nettype wire
