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

  // The next input beat waits while the one before it is shifted out. What the parts get next is the choice of one register, and
  // when is a clock enable: so no part of that condition is repeated for every bit.
  logic                   waiting;
  logic [COUNT_WIDTH-1:0] count;
  logic                   at_end;  // no part is left behind the one that is offered, if one is
  logic                   advance;
  logic                   take;
  logic                   load;
  logic                   waiting_next;
  logic                   at_end_next;
  logic                   valid_next;

  assign s_axis_tready = !waiting;
  assign advance       = !m_axis_tvalid || m_axis_tready;
  assign take          = m_axis_tvalid && m_axis_tready;
  assign load          = waiting && at_end && advance;
  assign waiting_next  = !rst && !load && (waiting || s_axis_tvalid);
  assign at_end_next   = rst || (!load && (at_end || (take && count == COUNT_WIDTH'(FACTOR - 2))));
  assign valid_next    = !rst && ((at_end && advance) ? waiting : m_axis_tvalid);

  always_ff @(posedge clk) begin
    waiting       <= waiting_next;
    at_end        <= at_end_next;
    m_axis_tvalid <= valid_next;
    if (take) count <= at_end ? '0 : count + 1'b1;
    if (rst) count <= '0;
  end

  // A register that serves thousands of bits is far from most of them: copies of the three serve a few each.
  localparam int unsigned COPY_BITS = 256;
  logic [WIDE_WIDTH-1:0] parts;
  logic [WIDE_WIDTH-1:0] shifted;
  assign m_axis_tdata = parts[DATA_WIDTH-1:0];
  assign shifted      = {parts[WIDE_WIDTH-1 -: DATA_WIDTH], parts[WIDE_WIDTH-1:DATA_WIDTH]};
  for (genvar low = 0; low < WIDE_WIDTH; low += COPY_BITS) begin : g_copy
    localparam int unsigned BITS = (WIDE_WIDTH - low < COPY_BITS) ? WIDE_WIDTH - low : COPY_BITS;
    logic [BITS-1:0] waiting_data;
    logic            is_waiting;
    logic            is_at_end;
    logic            valid;
    if (WIDE_WIDTH > COPY_BITS) begin : g_copies
      (* keep = "true" *) always_ff @(posedge clk) begin
        is_waiting <= waiting_next;
        is_at_end  <= at_end_next;
        valid      <= valid_next;
      end
    end else begin : g_only
      assign is_waiting = waiting;
      assign is_at_end  = at_end;
      assign valid      = m_axis_tvalid;
    end
    always_ff @(posedge clk) begin
      if (!is_waiting) waiting_data <= s_axis_tdata[low +: BITS];
      if (!valid || m_axis_tready) parts[low +: BITS] <= is_at_end ? waiting_data : shifted[low +: BITS];
    end
  end
endmodule

`default_nettype wire
