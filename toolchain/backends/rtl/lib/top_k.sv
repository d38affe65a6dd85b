// SPDX-License-Identifier: Apache-2.0
//
// Indices of the K largest of CHANNELS numbers, the largest first; of equal ones, the lower index first.
//
//   Equation    output beats 0 .. K-1 of a frame are the first K channels c in the order of falling x[c], equal x[c] in the
//               order of rising c; input beat c of a frame is x[c]
//   Input       an output beat is read in the first cycle after the one before was read in which the last beat of its frame
//               was accepted in an earlier cycle and fewer than 5 output beats read in earlier cycles are still to be taken.
//               While output beat j of frame f is the first that was not read in earlier cycles, input beats are accepted up
//               to the last but one of frame f + 1, or up to the last of it if j = K - 1
//   Latency     an output beat read in cycle t is offered from cycle t + 4, or from the cycle after the output beat
//               before it was taken if that is later; so 5 cycles after the acceptance of the frame's last beat at the
//               earliest
//   Throughput  one input beat a cycle, with no bubble between frames: the indices of a frame leave while the next comes
//   Reset       the next beat accepted is beat 0 of a frame; frames under way are dropped; data is not reset
//
// The K largest so far stand in a line of registers, in order. A number is compared with all of them at once, and those that
// it beats move on by one place. From there the indices of a whole frame go to a shift register.
`default_nettype none

module top_k #(
  parameter int unsigned CHANNELS     = 10,    // numbers a frame
  parameter int unsigned K            = 5,     // indices a frame, at most CHANNELS
  parameter int unsigned PE           = 1,     // numbers a beat: only 1
  parameter int unsigned INPUT_WIDTH  = 8,     // bits of a number
  parameter bit          INPUT_SIGNED = 1'b1,  // numbers are two's complement
  parameter int unsigned INDEX_WIDTH  = 4      // bits of an index, enough for CHANNELS - 1
) (
  input  wire logic                      clk,
  input  wire logic                      rst,
  input  wire logic [PE*INPUT_WIDTH-1:0] s_axis_tdata,
  input  wire logic                      s_axis_tvalid,
  output logic                           s_axis_tready,
  output logic [INDEX_WIDTH-1:0]         m_axis_tdata,
  output logic                           m_axis_tvalid,
  input  wire logic                      m_axis_tready
);
  if (PE != 1 || INPUT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: PE must be 1 and INPUT_WIDTH at least 1; got %0d and %0d", PE, INPUT_WIDTH);
  end
  if (K < 1 || K > CHANNELS) begin : g_check_k
    $fatal(1, "%m: K must be 1 to CHANNELS; got %0d and %0d", K, CHANNELS);
  end
  if (INDEX_WIDTH < 1 || INDEX_WIDTH < $clog2(CHANNELS)) begin : g_check_index
    $fatal(1, "%m: INDEX_WIDTH must hold CHANNELS - 1; got %0d bits for %0d channels", INDEX_WIDTH, CHANNELS);
  end

  localparam int unsigned SLOTS = 5;  // two cycles to the result queue and two through it

  // ---- When to accept and when to read --------------------------------------------------------------------------------
  logic accept;
  logic last_channel;
  logic go;             // an output beat is read
  logic last_index;
  logic available;
  logic one_waiting;    // frames accepted and not read: at least one
  logic two_waiting;    // two: of the older only the last output beat is left
  logic frame_in;
  logic frame_out;

  assign s_axis_tready = !two_waiting && (!one_waiting || !last_channel || last_index);
  assign accept        = s_axis_tvalid && s_axis_tready;
  assign go            = one_waiting && available;
  assign frame_in      = accept && last_channel;
  assign frame_out     = go && last_index;
  wrap_counter #(
    .COUNT(CHANNELS)
  ) u_channel (
    .clk (clk),
    .rst (rst),
    .step(accept),
    .last(last_channel)
  );
  wrap_counter #(
    .COUNT(K)
  ) u_index (
    .clk (clk),
    .rst (rst),
    .step(go),
    .last(last_index)
  );
  always_ff @(posedge clk) begin
    if (frame_in && !frame_out) begin
      one_waiting <= 1'b1;
      two_waiting <= one_waiting;
    end else if (frame_out && !frame_in) begin
      one_waiting <= two_waiting;
      two_waiting <= 1'b0;
    end
    if (rst) begin
      one_waiting <= 1'b0;
      two_waiting <= 1'b0;
    end
  end

  // ---- Line of the largest: a cycle behind ------------------------------------------------------------------------------
  // With the sign bit inverted, two's complement numbers are in the order of unsigned ones. Kept numbers are complemented, so
  // that nothing stands before the carry that compares them.
  localparam logic [INPUT_WIDTH-1:0] SIGN = INPUT_WIDTH'(INPUT_SIGNED) << (INPUT_WIDTH - 1);

  logic                     active;
  logic                     closing;  // the last number of a frame
  logic [INPUT_WIDTH-1:0]   key;
  logic [INDEX_WIDTH-1:0]   index;
  logic [K-1:0]             filled;   // places with a number of this frame
  logic [K-1:0]             larger;   // bit j: the number beats that of place j
  logic [K*INDEX_WIDTH-1:0] line;

  always_ff @(posedge clk) begin
    key     <= s_axis_tdata ^ SIGN;
    active  <= accept;
    closing <= frame_in;
    if (active) begin
      index  <= closing ? '0 : index + 1'b1;
      filled <= closing ? '0 : K'({filled, 1'b1});
    end
    if (rst) begin
      active  <= 1'b0;
      closing <= 1'b0;
      index   <= '0;
      filled  <= '0;
    end
  end

  for (genvar j = 0; j < K; j++) begin : g_place
    logic [INPUT_WIDTH-1:0] kept_key;  // complemented
    logic [INDEX_WIDTH-1:0] kept_index;
    // The sum's carry says whether the number is larger; its other bits carry no information.
    /* verilator lint_off UNUSEDSIGNAL */
    logic [INPUT_WIDTH:0] difference;
    /* verilator lint_on UNUSEDSIGNAL */
    assign difference = {1'b0, key} + {1'b0, kept_key};
    assign larger[j]  = difference[INPUT_WIDTH] || !filled[j];
    if (j == 0) begin : g_first
      always_ff @(posedge clk) begin
        if (active && larger[j]) begin
          kept_key   <= ~key;
          kept_index <= index;
        end
      end
    end else begin : g_next
      always_ff @(posedge clk) begin
        if (active && larger[j]) begin
          kept_key   <= larger[j-1] ? g_place[j-1].kept_key : ~key;
          kept_index <= larger[j-1] ? g_place[j-1].kept_index : index;
        end
      end
    end
    assign line[j*INDEX_WIDTH +: INDEX_WIDTH] = kept_index;
  end

  // ---- Shift register of indices: two cycles behind the reading ----------------------------------------------------------
  // The line is complete two cycles after its frame, and is left alone until a cycle after the one before was read.
  logic                     complete;
  logic                     busy;  // the shift register holds indices that are still to be read
  logic                     load;
  logic [2:1]               reading;
  logic [2:1]               reading_last;
  logic [K*INDEX_WIDTH-1:0] indices;
  assign load = complete && (!busy || reading_last[2]);
  always_ff @(posedge clk) begin
    reading      <= {reading[1], go};
    reading_last <= {reading_last[1], frame_out};
    if (closing) complete <= 1'b1;
    else if (load) complete <= 1'b0;
    if (load) busy <= 1'b1;
    else if (reading_last[2]) busy <= 1'b0;
    if (rst) begin
      reading      <= '0;
      reading_last <= '0;
      complete     <= 1'b0;
      busy         <= 1'b0;
    end
  end
  always_ff @(posedge clk) begin
    if (load) indices <= line;
    // Zeros above, so that the shift is not by all the bits there are where K is 1.
    else if (reading[2]) indices <= (K*INDEX_WIDTH)'({INDEX_WIDTH'(0), indices} >> INDEX_WIDTH);
  end

  result_queue #(
    .DATA_WIDTH(INDEX_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (go),
    .available    (available),
    .result_valid (reading[2]),
    .result_data  (indices[INDEX_WIDTH-1:0]),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
