// SPDX-License-Identifier: Apache-2.0
//
// Hands every beat to the stream ports of an HLS module: one port for the whole beat, or one for each lane, which the module
// may take in different cycles.
//
//   Equation    word p of beat j goes to port p as its j-th word
//   Latency     one cycle
//   Throughput  one beat a cycle
//   Reset       drops what is inside
`default_nettype none

module hls_stream_source #(
  parameter int unsigned PORTS = 1,  // stream ports of the module
  parameter int unsigned WIDTH = 8   // bits of a port
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [PORTS*WIDTH-1:0] s_axis_tdata,
  input  wire logic                   s_axis_tvalid,
  output logic                        s_axis_tready,
  output logic [PORTS*WIDTH-1:0]      port_tdata,
  output logic [PORTS-1:0]            port_tvalid,
  input  wire logic [PORTS-1:0]       port_tready
);
  logic [PORTS-1:0] free;

  // A beat enters all buffers at once, so they stay in step whatever the order in which the ports are read.
  assign s_axis_tready = &free;

  for (genvar port = 0; port < PORTS; port++) begin : g_port
    skid_buffer #(
      .DATA_WIDTH(WIDTH)
    ) u_buffer (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (s_axis_tdata[port*WIDTH+:WIDTH]),
      .s_axis_tvalid(s_axis_tvalid && s_axis_tready),
      .s_axis_tready(free[port]),
      .m_axis_tdata (port_tdata[port*WIDTH+:WIDTH]),
      .m_axis_tvalid(port_tvalid[port]),
      .m_axis_tready(port_tready[port])
    );
  end
endmodule

`default_nettype wire
