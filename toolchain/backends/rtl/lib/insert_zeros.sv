// SPDX-License-Identifier: Apache-2.0
//
// Puts zero pixels between the pixels of every frame: before pad and a convolution, a transposed convolution.
//
//   Equation    output pixel (y, x) of the OUT_HEIGHT x OUT_WIDTH of a frame = input pixel (y / FACTOR_HEIGHT,
//               x / FACTOR_WIDTH) if both quotients are whole, else 0 in every channel;
//               OUT_HEIGHT = (HEIGHT - 1) * FACTOR_HEIGHT + 1, OUT_WIDTH = (WIDTH - 1) * FACTOR_WIDTH + 1
//   Order       both sides row by row, pixel by pixel, CF = CHANNELS / SIMD beats a pixel, channels last
//   Input       step k makes output beat k. It is done in the first cycle after step k-1 in which fewer than 2 output beats
//               made in earlier cycles are still to be taken, and an input beat is offered unless the beat is of a zero
//               pixel. s_axis_tready is high exactly in the cycles in which the next step is not of a zero pixel and does
//               not wait for the output
//   Latency     an output beat made in cycle t is offered from cycle t + 1, or from the cycle after the output beat
//               before it was taken if that is later
//   Throughput  one output beat a cycle: a frame every OUT_HEIGHT * OUT_WIDTH * CF cycles
//   Reset       the next step is beat 0 of a frame; beats under way are dropped; data is not reset
`default_nettype none

module insert_zeros #(
  parameter int unsigned HEIGHT        = 8,  // rows of an input frame (1-D: 1)
  parameter int unsigned WIDTH         = 8,  // pixels of an input row
  parameter int unsigned CHANNELS      = 4,  // elements of a pixel
  parameter int unsigned SIMD          = 2,  // elements of a beat; divides CHANNELS
  parameter int unsigned ELEMENT_WIDTH = 8,  // bits of an element
  parameter int unsigned FACTOR_HEIGHT = 2,  // output rows from an input row to the next
  parameter int unsigned FACTOR_WIDTH  = 2   // output columns from an input column to the next
) (
  input  wire logic                          clk,
  input  wire logic                          rst,
  input  wire logic [SIMD*ELEMENT_WIDTH-1:0] s_axis_tdata,
  input  wire logic                          s_axis_tvalid,
  output logic                               s_axis_tready,
  output logic [SIMD*ELEMENT_WIDTH-1:0]      m_axis_tdata,
  output logic                               m_axis_tvalid,
  input  wire logic                          m_axis_tready
);
  if (SIMD < 1 || CHANNELS < 1 || CHANNELS % SIMD != 0 || ELEMENT_WIDTH < 1) begin : g_check_lanes
    $fatal(1, "%m: SIMD must divide CHANNELS and ELEMENT_WIDTH must be at least 1; got %0d, %0d and %0d",
           SIMD, CHANNELS, ELEMENT_WIDTH);
  end
  if (HEIGHT < 1 || WIDTH < 1 || FACTOR_HEIGHT < 1 || FACTOR_WIDTH < 1) begin : g_check_frame
    $fatal(1, "%m: HEIGHT, WIDTH, FACTOR_HEIGHT and FACTOR_WIDTH must be at least 1; got %0d, %0d, %0d and %0d",
           HEIGHT, WIDTH, FACTOR_HEIGHT, FACTOR_WIDTH);
  end

  localparam int unsigned CF = CHANNELS / SIMD;

  logic room;
  logic step;
  logic last_beat;
  logic last_column;
  logic inner_column;
  logic inner_row;
  logic inner;
  /* verilator lint_off UNUSEDSIGNAL */  // frames follow each other without an end
  logic last_row;
  /* verilator lint_on UNUSEDSIGNAL */

  assign inner         = inner_row && inner_column;
  assign s_axis_tready = room && inner;
  assign step          = room && (!inner || s_axis_tvalid);

  wrap_counter #(
    .COUNT(CF)
  ) u_beat (
    .clk (clk),
    .rst (rst),
    .step(step),
    .last(last_beat)
  );
  gap_counter #(
    .COUNT (WIDTH),
    .FACTOR(FACTOR_WIDTH)
  ) u_column (
    .clk  (clk),
    .rst  (rst),
    .step (step && last_beat),
    .inner(inner_column),
    .last (last_column)
  );
  gap_counter #(
    .COUNT (HEIGHT),
    .FACTOR(FACTOR_HEIGHT)
  ) u_row (
    .clk  (clk),
    .rst  (rst),
    .step (step && last_beat && last_column),
    .inner(inner_row),
    .last (last_row)
  );

  skid_buffer #(
    .DATA_WIDTH(SIMD * ELEMENT_WIDTH)
  ) u_skid_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (inner ? s_axis_tdata : '0),
    .s_axis_tvalid(!inner || s_axis_tvalid),
    .s_axis_tready(room),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
