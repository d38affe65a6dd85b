// SPDX-License-Identifier: Apache-2.0
//
// Keeps a part of every frame: every STEP-th row, column and beat of a pixel from START to before STOP.
//
//   Equation    the output is the input without the beats that are not kept. The beat at (row, column, beat) of a frame is kept
//               iff, for each of the three, START <= i < STOP and STEP divides i - START
//   Order       both sides row by row, pixel by pixel, CF beats a pixel, channels last
//   Input       a beat that is not kept is accepted in any cycle; one that is kept is accepted in a cycle iff fewer than 2 kept
//               beats accepted in earlier cycles are still to be taken
//   Latency     a kept beat accepted in cycle t is offered from cycle t + 1, or from the cycle after the output beat before it
//               was taken if that is later
//   Throughput  one input beat a cycle
//   Reset       the next beat accepted is beat 0 of a frame; beats under way are dropped; data is not reset
//
// A split is a stream_fork with one such slice behind each of its outputs.
`default_nettype none

module stream_slice #(
  parameter int unsigned HEIGHT       = 4,  // rows of a frame (1-D: 1)
  parameter int unsigned WIDTH        = 4,  // pixels of a row
  parameter int unsigned CF           = 1,  // beats of a pixel
  parameter int unsigned DATA_WIDTH   = 8,  // bits of a beat
  parameter int unsigned START_HEIGHT = 0,  // of each axis: the first that is kept
  parameter int unsigned STOP_HEIGHT  = 4,  // from here on nothing is kept
  parameter int unsigned STEP_HEIGHT  = 1,  // from one that is kept to the next
  parameter int unsigned START_WIDTH  = 0,
  parameter int unsigned STOP_WIDTH   = 4,
  parameter int unsigned STEP_WIDTH   = 1,
  parameter int unsigned START_CF     = 0,
  parameter int unsigned STOP_CF      = 1,
  parameter int unsigned STEP_CF      = 1
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic [DATA_WIDTH-1:0] s_axis_tdata,
  input  wire logic                  s_axis_tvalid,
  output logic                       s_axis_tready,
  output logic [DATA_WIDTH-1:0]      m_axis_tdata,
  output logic                       m_axis_tvalid,
  input  wire logic                  m_axis_tready
);
  if (DATA_WIDTH < 1) begin : g_check
    $fatal(1, "%m: DATA_WIDTH must be at least 1; got %0d", DATA_WIDTH);
  end

  logic room;
  logic accept;
  logic kept;
  logic kept_row;
  logic kept_column;
  logic kept_beat;
  logic last_column;
  logic last_beat;
  /* verilator lint_off UNUSEDSIGNAL */  // frames follow each other without an end
  logic last_row;
  /* verilator lint_on UNUSEDSIGNAL */

  assign kept          = kept_row && kept_column && kept_beat;
  assign s_axis_tready = room || !kept;
  assign accept        = s_axis_tvalid && s_axis_tready;

  slice_counter #(
    .COUNT(CF),
    .START(START_CF),
    .STOP (STOP_CF),
    .STEP (STEP_CF)
  ) u_beat (
    .clk (clk),
    .rst (rst),
    .step(accept),
    .kept(kept_beat),
    .last(last_beat)
  );
  slice_counter #(
    .COUNT(WIDTH),
    .START(START_WIDTH),
    .STOP (STOP_WIDTH),
    .STEP (STEP_WIDTH)
  ) u_column (
    .clk (clk),
    .rst (rst),
    .step(accept && last_beat),
    .kept(kept_column),
    .last(last_column)
  );
  slice_counter #(
    .COUNT(HEIGHT),
    .START(START_HEIGHT),
    .STOP (STOP_HEIGHT),
    .STEP (STEP_HEIGHT)
  ) u_row (
    .clk (clk),
    .rst (rst),
    .step(accept && last_beat && last_column),
    .kept(kept_row),
    .last(last_row)
  );

  skid_buffer #(
    .DATA_WIDTH(DATA_WIDTH)
  ) u_skid_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (s_axis_tdata),
    .s_axis_tvalid(s_axis_tvalid && kept),
    .s_axis_tready(room),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
