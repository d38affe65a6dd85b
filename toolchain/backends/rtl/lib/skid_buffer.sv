// SPDX-License-Identifier: Apache-2.0
//
// Register slice: passes every beat on unchanged, and cuts all combinational paths between its two sides.
//
//   Equation    output beat j = input beat j
//   Input       a beat is accepted in a cycle iff fewer than 2 beats accepted in earlier cycles are still inside,
//               where a beat leaves in the cycle in which it is taken (m_axis_tvalid and m_axis_tready)
//   Latency     a beat accepted in cycle t is offered from cycle t + 1, or from the cycle after the beat before it
//               was taken if that is later
//   Throughput  one beat a cycle
//   Reset       empties the buffer; data registers are not reset
`default_nettype none

module skid_buffer #(
  parameter int unsigned DATA_WIDTH = 8  // bits of a beat
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

  // The spare register takes the one beat that arrives before a stall of the output is seen upstream.
  logic [DATA_WIDTH-1:0] spare_data;
  logic                  spare_valid;
  logic                  advance;

  assign s_axis_tready = !spare_valid;
  assign advance       = !m_axis_tvalid || m_axis_tready;

  always_ff @(posedge clk) begin
    if (advance) begin
      m_axis_tvalid <= spare_valid || s_axis_tvalid;
      spare_valid   <= 1'b0;
    end else if (s_axis_tvalid) begin
      spare_valid <= 1'b1;
    end
    if (rst) begin
      m_axis_tvalid <= 1'b0;
      spare_valid   <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (!spare_valid) spare_data <= s_axis_tdata;
    if (advance) m_axis_tdata <= spare_valid ? spare_data : s_axis_tdata;
  end
endmodule

`default_nettype wire
