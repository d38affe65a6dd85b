// SPDX-License-Identifier: Apache-2.0
//
// Copies a stream: every input beat goes to both outputs, which run independently.
//
//   Equation    beat j of output a = beat j of output b = input beat j
//   Input       a beat is accepted in a cycle iff, of each output, fewer than 2 beats accepted in earlier cycles are still to
//               be taken, where a beat is gone in the cycle after the one in which it is taken
//   Latency     on each output, a beat accepted in cycle t is offered from cycle t + 1, or from the cycle after the beat
//               before it was taken there if that is later
//   Throughput  one beat a cycle
//   Reset       empties both outputs; data registers are not reset
//
// Both outputs lie within two beats of the input, so the two newest beats are all that has to be kept: they stand in one
// pair of registers, from which each output chooses.
`default_nettype none

module stream_fork #(
  parameter int unsigned DATA_WIDTH = 8  // bits of a beat
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic [DATA_WIDTH-1:0] s_axis_tdata,
  input  wire logic                  s_axis_tvalid,
  output logic                       s_axis_tready,
  output logic [DATA_WIDTH-1:0]      m_axis_a_tdata,
  output logic                       m_axis_a_tvalid,
  input  wire logic                  m_axis_a_tready,
  output logic [DATA_WIDTH-1:0]      m_axis_b_tdata,
  output logic                       m_axis_b_tvalid,
  input  wire logic                  m_axis_b_tready
);
  if (DATA_WIDTH < 1) begin : g_check
    $fatal(1, "%m: DATA_WIDTH must be at least 1; got %0d", DATA_WIDTH);
  end

  logic [DATA_WIDTH-1:0] newest;
  logic [DATA_WIDTH-1:0] previous;
  logic                  a_holds_two;
  logic                  b_holds_two;
  logic                  accept;

  assign s_axis_tready  = !a_holds_two && !b_holds_two;
  assign accept         = s_axis_tvalid && s_axis_tready;
  assign m_axis_a_tdata = a_holds_two ? previous : newest;
  assign m_axis_b_tdata = b_holds_two ? previous : newest;

  always_ff @(posedge clk) begin
    if (accept) begin
      newest   <= s_axis_tdata;
      previous <= newest;
    end
  end

  always_ff @(posedge clk) begin
    if (!m_axis_a_tvalid || m_axis_a_tready) begin
      m_axis_a_tvalid <= a_holds_two || accept;
      a_holds_two     <= 1'b0;
    end else if (accept) begin
      a_holds_two <= 1'b1;
    end
    if (!m_axis_b_tvalid || m_axis_b_tready) begin
      m_axis_b_tvalid <= b_holds_two || accept;
      b_holds_two     <= 1'b0;
    end else if (accept) begin
      b_holds_two <= 1'b1;
    end
    if (rst) begin
      m_axis_a_tvalid <= 1'b0;
      m_axis_b_tvalid <= 1'b0;
      a_holds_two     <= 1'b0;
      b_holds_two     <= 1'b0;
    end
  end
endmodule

`default_nettype wire
