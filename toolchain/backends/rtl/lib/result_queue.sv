// SPDX-License-Identifier: Apache-2.0
//
// Output side of a free-running pipeline: reserves room for a result before its computation starts, so that the
// pipeline behind it never has to stop.
//
// A step that will produce a result may start (reserve = 1) only in a cycle with available = 1. A fixed number of cycles
// later the pipeline hands the result over (result_valid = 1); the queue always has room for it.
//
//   Equation    output beat j = j-th result handed over
//   Input       available = 1 iff fewer than SLOTS results reserved in earlier cycles have not been taken yet
//   Latency     Q = 1 for SLOTS <= 2, else Q = 2: a result handed over in cycle t is offered from cycle t + Q, or from
//               the cycle after the result before it was taken if that is later
//   Throughput  one result a cycle; with P cycles from reserve to handing over and results at least I cycles apart,
//               SLOTS >= floor((P + Q) / I) + 1 never holds the pipeline back while the output is taken at once
//   Reset       empties the queue and gives all reservations back; the pipeline has to drop its results as well
`default_nettype none

module result_queue #(
  parameter int unsigned DATA_WIDTH = 8,  // bits of a result
  parameter int unsigned SLOTS      = 2   // results that may be under way or waiting
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic                  reserve,
  output logic                       available,
  input  wire logic                  result_valid,
  input  wire logic [DATA_WIDTH-1:0] result_data,
  output logic [DATA_WIDTH-1:0]      m_axis_tdata,
  output logic                       m_axis_tvalid,
  input  wire logic                  m_axis_tready
);
  if (DATA_WIDTH < 1 || SLOTS < 1) begin : g_check
    $fatal(1, "%m: DATA_WIDTH and SLOTS must be at least 1; got %0d and %0d", DATA_WIDTH, SLOTS);
  end

  localparam int unsigned COUNT_WIDTH = $clog2(SLOTS + 1);

  logic [COUNT_WIDTH-1:0] count;  // results reserved and not yet taken
  logic                   full;
  logic                   take;

  assign available = !full;
  assign take      = m_axis_tvalid && m_axis_tready;

  always_ff @(posedge clk) begin
    if (reserve && !take) begin
      count <= count + 1'b1;
      full  <= count == COUNT_WIDTH'(SLOTS - 1);
    end else if (take && !reserve) begin
      count <= count - 1'b1;
      full  <= 1'b0;
    end
    if (rst) begin
      count <= '0;
      full  <= 1'b0;
    end
  end

  if (SLOTS == 1) begin : g_register
    logic valid_next;
    assign valid_next = !rst && (result_valid || (m_axis_tvalid && !m_axis_tready));
    always_ff @(posedge clk) m_axis_tvalid <= valid_next;
    // What is there while nothing is offered is of no account. A copy of `m_axis_tvalid` serves a few bits.
    localparam int unsigned COPY_BITS = 256;
    for (genvar low = 0; low < DATA_WIDTH; low += COPY_BITS) begin : g_copy
      localparam int unsigned BITS = (DATA_WIDTH - low < COPY_BITS) ? DATA_WIDTH - low : COPY_BITS;
      logic valid;
      if (DATA_WIDTH > COPY_BITS) begin : g_copies
        (* keep = "true" *) always_ff @(posedge clk) valid <= valid_next;
      end else begin : g_only
        assign valid = m_axis_tvalid;
      end
      always_ff @(posedge clk) if (!valid) m_axis_tdata[low +: BITS] <= result_data[low +: BITS];
    end
  end else begin : g_fifo
    // The reservation guarantees room: the ready output carries no information.
    /* verilator lint_off UNUSEDSIGNAL */
    logic room;
    /* verilator lint_on UNUSEDSIGNAL */
    stream_fifo #(
      .DATA_WIDTH(DATA_WIDTH),
      .DEPTH     (SLOTS)
    ) u_stream_fifo (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (result_data),
      .s_axis_tvalid(result_valid),
      .s_axis_tready(room),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end
endmodule

`default_nettype wire
