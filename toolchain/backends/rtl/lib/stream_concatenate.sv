// SPDX-License-Identifier: Apache-2.0
//
// Joins two streams: a run of beats of the one, then a run of the other, in turn, both brought to one type.
//
//   Equation    of every A_BEATS + B_BEATS output beats the first A_BEATS are the next ones of input a and the others the next
//               ones of input b, each element shifted left by its input's SHIFT, modulo 2**OUTPUT_WIDTH
//   Order       A_BEATS and B_BEATS are the beats of a pixel, to join channels; of a row, columns; of a frame, rows
//   Input       step k makes output beat k. It is done in the first cycle after step k-1 in which fewer than 2 output beats
//               made in earlier cycles are still to be taken and the input that is in turn offers a beat, which is then
//               accepted. An input's tready is high exactly in the cycles in which it is in turn and the next step does not
//               wait for the output
//   Latency     an output beat made in cycle t is offered from cycle t + 1, or from the cycle after the output beat
//               before it was taken if that is later
//   Throughput  one output beat a cycle
//   Reset       input a is in turn, at the start of a run; beats under way are dropped; data is not reset
`default_nettype none

module stream_concatenate #(
  parameter int unsigned A_BEATS      = 1,     // beats of a run of a
  parameter int unsigned B_BEATS      = 1,     // beats of a run of b
  parameter int unsigned PE           = 2,     // elements of a beat
  parameter int unsigned A_WIDTH      = 8,     // bits of an element of a
  parameter bit          A_SIGNED     = 1'b1,  // elements of a are two's complement
  parameter int unsigned A_SHIFT      = 0,     // bits by which a is shifted left, to the output's binary point
  parameter int unsigned B_WIDTH      = 8,     // bits of an element of b
  parameter bit          B_SIGNED     = 1'b1,  // elements of b are two's complement
  parameter int unsigned B_SHIFT      = 0,     // bits by which b is shifted left
  parameter int unsigned OUTPUT_WIDTH = 8      // bits of an output element
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [PE*A_WIDTH-1:0]      s_axis_a_tdata,
  input  wire logic                       s_axis_a_tvalid,
  output logic                            s_axis_a_tready,
  input  wire logic [PE*B_WIDTH-1:0]      s_axis_b_tdata,
  input  wire logic                       s_axis_b_tvalid,
  output logic                            s_axis_b_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (A_BEATS < 1 || B_BEATS < 1) begin : g_check_beats
    $fatal(1, "%m: A_BEATS and B_BEATS must be at least 1; got %0d and %0d", A_BEATS, B_BEATS);
  end
  if (PE < 1 || A_WIDTH < 1 || B_WIDTH < 1 || OUTPUT_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: PE, A_WIDTH, B_WIDTH and OUTPUT_WIDTH must be at least 1; got %0d, %0d, %0d and %0d",
           PE, A_WIDTH, B_WIDTH, OUTPUT_WIDTH);
  end

  logic room;
  logic in_turn_b;
  logic offered;
  /* verilator lint_off UNUSEDSIGNAL */  // runs follow each other without an end
  logic last;
  /* verilator lint_on UNUSEDSIGNAL */
  border_counter #(
    .BEFORE(A_BEATS),
    .INNER (B_BEATS),
    .AFTER (0)
  ) u_turn (
    .clk  (clk),
    .rst  (rst),
    .step (room && offered),
    .inner(in_turn_b),
    .last (last)
  );

  assign s_axis_a_tready = room && !in_turn_b;
  assign s_axis_b_tready = room && in_turn_b;
  assign offered         = in_turn_b ? s_axis_b_tvalid : s_axis_a_tvalid;

  logic [PE*OUTPUT_WIDTH-1:0] chosen;
  for (genvar p = 0; p < PE; p++) begin : g_lane
    logic [OUTPUT_WIDTH-1:0] aligned_a;
    logic [OUTPUT_WIDTH-1:0] aligned_b;
    align #(
      .WIDTH       (A_WIDTH),
      .SIGNED      (A_SIGNED),
      .SHIFT       (A_SHIFT),
      .OUTPUT_WIDTH(OUTPUT_WIDTH)
    ) u_align_a (
      .x(s_axis_a_tdata[p*A_WIDTH +: A_WIDTH]),
      .y(aligned_a)
    );
    align #(
      .WIDTH       (B_WIDTH),
      .SIGNED      (B_SIGNED),
      .SHIFT       (B_SHIFT),
      .OUTPUT_WIDTH(OUTPUT_WIDTH)
    ) u_align_b (
      .x(s_axis_b_tdata[p*B_WIDTH +: B_WIDTH]),
      .y(aligned_b)
    );
    assign chosen[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = in_turn_b ? aligned_b : aligned_a;
  end

  skid_buffer #(
    .DATA_WIDTH(PE * OUTPUT_WIDTH)
  ) u_skid_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (chosen),
    .s_axis_tvalid(offered),
    .s_axis_tready(room),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
