// SPDX-License-Identifier: Apache-2.0
//
// Splits every wide beat into FACTOR narrow beats, the least significant bits first.
//
//   Equation    output beats w * FACTOR .. w * FACTOR + FACTOR - 1 = parts of input beat w
//   Input       an input beat is accepted in a cycle iff the one before it was loaded in an earlier cycle; input beat w
//               is loaded in the first cycle after its acceptance in which the last part of input beat w - 1 is taken
//               or was taken before
//   Latency     the first part of an input beat loaded in cycle t is offered from cycle t + 1 (so from 2 cycles after an
//               acceptance while idle), a further part from the cycle after the part before it was taken
//   Throughput  one output beat a cycle
//   Reset       drops everything; data is not reset
`default_nettype none

module stream_narrow #(
  parameter int unsigned DATA_WIDTH = 8,  // bits of an output beat
  parameter int unsigned FACTOR     = 2   // output beats in an input beat, from 2
) (
  input  wire logic                         clk,
  input  wire logic                         rst,
  input  wire logic [FACTOR*DATA_WIDTH-1:0] s_axis_tdata,
  input  wire logic                         s_axis_tvalid,
  output logic                              s_axis_tready,
  output logic [DATA_WIDTH-1:0]             m_axis_tdata,
  output logic                              m_axis_tvalid,
  input  wire logic                         m_axis_tready
);
  if (DATA_WIDTH < 1 || FACTOR < 2) begin : g_check
    $fatal(1, "%m: DATA_WIDTH must be at least 1 and FACTOR at least 2; got %0d and %0d", DATA_WIDTH, FACTOR);
  end

  localparam int unsigned COUNT_WIDTH = $clog2(FACTOR);
  localparam int unsigned WIDE_WIDTH  = FACTOR * DATA_WIDTH;

  // The next input beat waits while the one before it is shifted out.
  logic [WIDE_WIDTH-1:0]  waiting_data;
  logic                   waiting;
  logic [WIDE_WIDTH-1:0]  parts;
  logic [COUNT_WIDTH-1:0] count;
  logic                   last;
  logic                   take;
  logic                   load;

  assign s_axis_tready = !waiting;
  assign m_axis_tdata  = parts[DATA_WIDTH-1:0];
  assign take          = m_axis_tvalid && m_axis_tready;
  assign load          = waiting && (!m_axis_tvalid || (take && last));

  always_ff @(posedge clk) begin
    if (load) waiting <= 1'b0;
    else if (s_axis_tvalid) waiting <= 1'b1;
    if (load) m_axis_tvalid <= 1'b1;
    else if (take && last) m_axis_tvalid <= 1'b0;
    if (take) begin
      count <= last ? '0 : count + 1'b1;
      last  <= count == COUNT_WIDTH'(FACTOR - 2);
    end
    if (rst) begin
      waiting       <= 1'b0;
      m_axis_tvalid <= 1'b0;
      count         <= '0;
      last          <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (!waiting) waiting_data <= s_axis_tdata;
    if (load) parts <= waiting_data;
    else if (take) parts <= {parts[WIDE_WIDTH-1 -: DATA_WIDTH], parts[WIDE_WIDTH-1:DATA_WIDTH]};
  end
endmodule

`default_nettype wire
