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
  logic spare_valid;
  logic advance;
  logic valid_next;
  logic spare_next;

  assign s_axis_tready = !spare_valid;
  assign advance       = !m_axis_tvalid || m_axis_tready;
  assign valid_next    = !rst && (spare_valid || s_axis_tvalid || !advance);
  assign spare_next    = !rst && !advance && (spare_valid || s_axis_tvalid);

  always_ff @(posedge clk) begin
    m_axis_tvalid <= valid_next;
    spare_valid   <= spare_next;
  end

  // A register that serves thousands of bits is far from most of them: copies of the two serve a few each.
  localparam int unsigned COPY_BITS = 256;
  for (genvar low = 0; low < DATA_WIDTH; low += COPY_BITS) begin : g_copy
    localparam int unsigned BITS = (DATA_WIDTH - low < COPY_BITS) ? DATA_WIDTH - low : COPY_BITS;
    logic [BITS-1:0] spare_data;
    logic            valid;
    logic            spare;
    if (DATA_WIDTH > COPY_BITS) begin : g_copies
      (* keep = "true" *) always_ff @(posedge clk) begin
        valid <= valid_next;
        spare <= spare_next;
      end
    end else begin : g_only
      assign valid = m_axis_tvalid;
      assign spare = spare_valid;
    end
    always_ff @(posedge clk) begin
      if (!spare) spare_data <= s_axis_tdata[low +: BITS];
      if (!valid || m_axis_tready) m_axis_tdata[low +: BITS] <= spare ? spare_data : s_axis_tdata[low +: BITS];
    end
  end
endmodule

`default_nettype wire
