// SPDX-License-Identifier: Apache-2.0
//
// Collects the output ports of an HLS module, each with a valid of its own and no ready, into one beat a frame.
//
//   Equation    word p of beat j is the j-th word that port p showed with its valid
//   Latency     two cycles after the last of a frame's words
//   Throughput  one frame a cycle
//   Reset       drops what is inside
//
// There is room for DEPTH frames; whoever starts the module takes care that no more come (hls_frame_source).
`default_nettype none

module hls_frame_sink #(
  parameter int unsigned PORTS = 1,  // output ports of the module
  parameter int unsigned WIDTH = 8,  // bits of a port
  parameter int unsigned DEPTH = 3   // frames held
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [PORTS*WIDTH-1:0] port_data,
  input  wire logic [PORTS-1:0]       port_valid,
  output logic [PORTS*WIDTH-1:0]      m_axis_tdata,
  output logic                        m_axis_tvalid,
  input  wire logic                   m_axis_tready,
  output logic                        m_axis_tlast
);
  logic [PORTS-1:0] here;
  logic [PORTS-1:0] free;

  assign m_axis_tvalid = &here;
  assign m_axis_tlast  = 1'b1;

  for (genvar port = 0; port < PORTS; port++) begin : g_port
    stream_fifo #(
      .DATA_WIDTH(WIDTH),
      .DEPTH     (DEPTH)
    ) u_fifo (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (port_data[port*WIDTH+:WIDTH]),
      .s_axis_tvalid(port_valid[port]),
      .s_axis_tready(free[port]),
      .m_axis_tdata (m_axis_tdata[port*WIDTH+:WIDTH]),
      .m_axis_tvalid(here[port]),
      .m_axis_tready(m_axis_tready && m_axis_tvalid)
    );
  end

  // A word without room would be lost; the simulation ends there.
  always_ff @(posedge clk) begin
    if (!rst && |(port_valid & ~free)) $fatal(1, "%m: a result came while %0d frames wait", DEPTH);
  end
endmodule

`default_nettype wire
