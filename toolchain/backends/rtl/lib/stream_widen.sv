// SPDX-License-Identifier: Apache-2.0
//
// Packs FACTOR consecutive narrow beats into one wide beat, the first in the least significant bits.
//
//   Equation    output beat w = input beats w * FACTOR .. w * FACTOR + FACTOR - 1
//   Input       a beat that does not complete an output beat is accepted in any cycle; one that completes output beat w
//               is accepted in a cycle iff output beat w - 1 was taken in an earlier cycle
//   Latency     an output beat whose last input beat is accepted in cycle t is offered from cycle t + 1
//   Throughput  one input beat a cycle
//   Reset       the next beat accepted is the first of an output beat; data is not reset
`default_nettype none

module stream_widen #(
  parameter int unsigned DATA_WIDTH = 8,  // bits of an input beat
  parameter int unsigned FACTOR     = 2   // input beats in an output beat, from 2
) (
  input  wire logic                         clk,
  input  wire logic                         rst,
  input  wire logic [DATA_WIDTH-1:0]        s_axis_tdata,
  input  wire logic                         s_axis_tvalid,
  output logic                              s_axis_tready,
  output logic [FACTOR*DATA_WIDTH-1:0]      m_axis_tdata,
  output logic                              m_axis_tvalid,
  input  wire logic                         m_axis_tready
);
  if (DATA_WIDTH < 1 || FACTOR < 2) begin : g_check
    $fatal(1, "%m: DATA_WIDTH must be at least 1 and FACTOR at least 2; got %0d and %0d", DATA_WIDTH, FACTOR);
  end

  localparam int unsigned COUNT_WIDTH = $clog2(FACTOR);
  localparam int unsigned KEPT_WIDTH  = (FACTOR - 1) * DATA_WIDTH;

  // All but the last beat wait in a shift register; the last goes straight to the output register with them.
  logic [KEPT_WIDTH-1:0]           kept;
  logic [FACTOR*DATA_WIDTH-1:0]    joined;
  logic [COUNT_WIDTH-1:0]          count;
  logic                            last;
  logic                            accept;

  assign s_axis_tready = !last || !m_axis_tvalid;
  assign accept        = s_axis_tvalid && s_axis_tready;
  assign joined        = {s_axis_tdata, kept};

  always_ff @(posedge clk) begin
    if (accept) begin
      count <= last ? '0 : count + 1'b1;
      last  <= count == COUNT_WIDTH'(FACTOR - 2);
    end
    if (accept && last) m_axis_tvalid <= 1'b1;
    else if (m_axis_tready) m_axis_tvalid <= 1'b0;
    if (rst) begin
      count         <= '0;
      last          <= 1'b0;
      m_axis_tvalid <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (accept && !last) kept <= joined[FACTOR*DATA_WIDTH-1:DATA_WIDTH];
    if (accept && last) m_axis_tdata <= joined;
  end
endmodule

`default_nettype wire
