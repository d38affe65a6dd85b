// SPDX-License-Identifier: Apache-2.0
//
// Starts an HLS module with ap_ctrl_hs for every frame: ap_start and the frame stay until the module says ap_ready.
//
//   Equation    transaction j of the module works on frame j
//   Latency     one cycle
//   Throughput  one frame a cycle, as far as the module takes them and fewer than DEPTH frames are between its start and
//               the end of its results: a module without back-pressure is started only where there is room for what it gives
//   Reset       drops what is inside
`default_nettype none

module hls_frame_source #(
  parameter int unsigned WIDTH = 8,  // bits of a frame
  parameter int unsigned DEPTH = 2   // frames for whose results there is room
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic [WIDTH-1:0] s_axis_tdata,
  input  wire logic             s_axis_tvalid,
  output logic                  s_axis_tready,
  output logic [WIDTH-1:0]      frame,
  output logic                  ap_start,
  input  wire logic             ap_ready,
  input  wire logic             result_taken  // the results of a frame leave in this cycle
);
  localparam int unsigned COUNT_WIDTH = $clog2(DEPTH + 1);

  logic                   here;
  logic                   begins;
  logic                   taken;
  logic                   started;    // the module works on the frame that is here, and has not said ap_ready
  logic [COUNT_WIDTH-1:0] in_flight;  // frames from their start to the end of their results

  // A module may give results before it says ap_ready, so frames count from their start on.
  assign begins   = here && !started && in_flight < COUNT_WIDTH'(DEPTH);
  assign ap_start = begins || started;
  assign taken    = ap_start && ap_ready;

  skid_buffer #(
    .DATA_WIDTH(WIDTH)
  ) u_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (s_axis_tdata),
    .s_axis_tvalid(s_axis_tvalid),
    .s_axis_tready(s_axis_tready),
    .m_axis_tdata (frame),
    .m_axis_tvalid(here),
    .m_axis_tready(taken)
  );

  always_ff @(posedge clk) begin
    if (rst) begin
      in_flight <= '0;
      started   <= 1'b0;
    end else begin
      in_flight <= in_flight + COUNT_WIDTH'(begins) - COUNT_WIDTH'(result_taken);
      started   <= ap_start && !ap_ready;
    end
  end
endmodule

`default_nettype wire
