// SPDX-License-Identifier: Apache-2.0
//
// Puts a border of constant pixels around every frame.
//
//   Equation    output pixel (y, x) of the OUT_HEIGHT x OUT_WIDTH of a frame = input pixel (y - TOP, x - LEFT) if there is
//               one, else VALUE in every channel (a border); OUT_HEIGHT = TOP + HEIGHT + BOTTOM, OUT_WIDTH = LEFT + WIDTH
//               + RIGHT
//   Order       both sides row by row, pixel by pixel, CF = CHANNELS / SIMD beats a pixel, channels last
//   Input       step k makes output beat k. It is done in the first cycle after step k-1 in which fewer than 2 output beats
//               made in earlier cycles are still to be taken, and an input beat is offered unless the beat is of the
//               border. s_axis_tready is high exactly in the cycles in which the next step is not of the border and does
//               not wait for the output. So the border that begins a frame comes without an input beat of it, behind a
//               reset as well, where the first step can be done in the first cycle
//               With HOLD, the input side is a skid_buffer, which accepts a beat iff fewer than 2 beats accepted in earlier
//               cycles have not been used by a step; a step uses a beat that was accepted in an earlier cycle, and the first
//               step of a frame waits for one even if it does not use it. Then no border comes before its frame does
//   Latency     an output beat made in cycle t is offered from cycle t + 1, or from the cycle after the output beat
//               before it was taken if that is later
//   Throughput  one output beat a cycle: a frame every OUT_HEIGHT * OUT_WIDTH * CF cycles
//   Reset       the next step is beat 0 of a frame; beats under way are dropped; data is not reset
`default_nettype none

module pad #(
  parameter int unsigned HEIGHT        = 8,  // rows of an input frame (1-D: 1)
  parameter int unsigned WIDTH         = 8,  // pixels of an input row
  parameter int unsigned CHANNELS      = 4,  // elements of a pixel
  parameter int unsigned SIMD          = 2,  // elements of a beat; divides CHANNELS
  parameter int unsigned ELEMENT_WIDTH = 8,  // bits of an element
  parameter int unsigned TOP           = 1,  // rows of border above
  parameter int unsigned BOTTOM        = 1,  // rows of border below
  parameter int unsigned LEFT          = 1,  // columns of border on the left
  parameter int unsigned RIGHT         = 1,  // columns of border on the right
  parameter longint signed VALUE       = 0,  // element of the border, representable in ELEMENT_WIDTH bits
  parameter bit          HOLD          = 1'b0// hold the border that begins a frame back until the frame's first beat is there
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
  if (HEIGHT < 1 || WIDTH < 1) begin : g_check_frame
    $fatal(1, "%m: HEIGHT and WIDTH must be at least 1; got %0d and %0d", HEIGHT, WIDTH);
  end

  if (ELEMENT_WIDTH < 63 && (VALUE >= 64'sd1 <<< ELEMENT_WIDTH || VALUE < -(64'sd1 <<< (ELEMENT_WIDTH - 1))))
  begin : g_check_value
    $fatal(1, "%m: VALUE must be representable in ELEMENT_WIDTH bits; got %0d and %0d", VALUE, ELEMENT_WIDTH);
  end

  localparam int unsigned CF = CHANNELS / SIMD;

  logic room;
  logic step;
  logic last_beat;
  logic last_column;
  logic inner_column;
  logic inner_row;
  logic inner;
  /* verilator lint_off UNUSEDSIGNAL */  // frames follow each other without an end unless they are held
  logic last_row;
  /* verilator lint_on UNUSEDSIGNAL */

  // The input, held or as it comes, and whether the next step may be done if it is of the border.
  logic [SIMD*ELEMENT_WIDTH-1:0] data;
  logic                          data_valid;
  logic                          data_ready;
  logic                          border_may;

  assign inner      = inner_row && inner_column;
  assign data_ready = room && inner;
  assign step       = room && (inner ? data_valid : border_may);

  if (HOLD) begin : g_hold
    logic first;  // the next step is the first of a frame
    skid_buffer #(
      .DATA_WIDTH(SIMD * ELEMENT_WIDTH)
    ) u_held (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (s_axis_tdata),
      .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready),
      .m_axis_tdata (data),
      .m_axis_tvalid(data_valid),
      .m_axis_tready(data_ready)
    );
    assign border_may = !first || data_valid;
    always_ff @(posedge clk) begin
      if (step) first <= last_beat && last_column && last_row;
      if (rst) first <= 1'b1;
    end
  end else begin : g_direct
    assign data          = s_axis_tdata;
    assign data_valid    = s_axis_tvalid;
    assign s_axis_tready = data_ready;
    assign border_may    = 1'b1;
  end

  wrap_counter #(
    .COUNT(CF)
  ) u_beat (
    .clk (clk),
    .rst (rst),
    .step(step),
    .last(last_beat)
  );
  border_counter #(
    .BEFORE(LEFT),
    .INNER (WIDTH),
    .AFTER (RIGHT)
  ) u_column (
    .clk  (clk),
    .rst  (rst),
    .step (step && last_beat),
    .inner(inner_column),
    .last (last_column)
  );
  border_counter #(
    .BEFORE(TOP),
    .INNER (HEIGHT),
    .AFTER (BOTTOM)
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
    .s_axis_tdata (inner ? data : {SIMD{ELEMENT_WIDTH'(VALUE)}}),
    .s_axis_tvalid(inner ? data_valid : border_may),
    .s_axis_tready(room),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
