// SPDX-License-Identifier: Apache-2.0
//
// First-in first-out buffer of DEPTH beats with a registered output.
//
//   Equation    output beat j = input beat j
//   Input       a beat is accepted in a cycle iff fewer than DEPTH beats accepted in earlier cycles are still inside
//   Latency     L = 1 for DEPTH = 2, else L = 2: a beat accepted in cycle t is offered from cycle t + L, or from the
//               cycle after the beat before it was taken if that is later
//   Throughput  one beat a cycle
//   Reset       empties the buffer; data is not reset
//
// From DEPTH = 3 on the memory is written, then read into the output register, with no path around it: that costs the
// second cycle, and lets a tool take a block RAM or LUT RAM without a multiplexer behind it.
`default_nettype none

module stream_fifo #(
  parameter int unsigned DATA_WIDTH = 8,  // bits of a beat
  parameter int unsigned DEPTH      = 16  // beats held, the output register included; any number from 2
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
  if (DATA_WIDTH < 1 || DEPTH < 2) begin : g_check
    $fatal(1, "%m: DATA_WIDTH must be at least 1 and DEPTH at least 2; got %0d and %0d", DATA_WIDTH, DEPTH);
  end

  if (DEPTH <= 2) begin : g_registers
    skid_buffer #(
      .DATA_WIDTH(DATA_WIDTH)
    ) u_skid_buffer (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (s_axis_tdata),
      .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end else begin : g_memory
    localparam int unsigned ADDRESS_WIDTH = $clog2(DEPTH);
    localparam int unsigned COUNT_WIDTH   = $clog2(DEPTH + 1);

    // The memory never holds more than DEPTH - 1 beats (the oldest moves on to the output register), so equal
    // pointers mean empty, and a location is never read in the cycle in which it is written.
    (* no_rw_check *) logic [DATA_WIDTH-1:0] memory [2**ADDRESS_WIDTH];
    logic [ADDRESS_WIDTH-1:0] write_pointer;
    logic [ADDRESS_WIDTH-1:0] read_pointer;
    logic [COUNT_WIDTH-1:0]   count;  // beats inside, the output register included
    logic                     full;
    logic                     put;
    logic                     take;
    logic                     load;

    assign s_axis_tready = !full;
    assign put           = s_axis_tvalid && !full;
    assign take          = m_axis_tvalid && m_axis_tready;
    assign load          = (!m_axis_tvalid || m_axis_tready) && write_pointer != read_pointer;

    always_ff @(posedge clk) begin
      if (put) write_pointer <= write_pointer + 1'b1;
      if (load) read_pointer <= read_pointer + 1'b1;
      if (load) m_axis_tvalid <= 1'b1;
      else if (take) m_axis_tvalid <= 1'b0;
      if (put && !take) begin
        count <= count + 1'b1;
        full  <= count == COUNT_WIDTH'(DEPTH - 1);
      end else if (take && !put) begin
        count <= count - 1'b1;
        full  <= 1'b0;
      end
      if (rst) begin
        write_pointer <= '0;
        read_pointer  <= '0;
        m_axis_tvalid <= 1'b0;
        count         <= '0;
        full          <= 1'b0;
      end
    end

    always_ff @(posedge clk) begin
      if (put) memory[write_pointer] <= s_axis_tdata;
      if (load) m_axis_tdata <= memory[read_pointer];
    end
  end
endmodule

`default_nettype wire
