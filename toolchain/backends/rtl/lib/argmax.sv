// SPDX-License-Identifier: Apache-2.0
//
// Index of the largest of CHANNELS numbers; of equal ones, the lowest index.
//
//   Equation    y = min { c : x[c] = max over all channels of x };  channel c = beat * PE + lane; one output beat a frame
//   Input       with CF = CHANNELS / PE beats a frame: a beat that is not the last of its frame is accepted in any cycle;
//               the last one is accepted in a cycle iff fewer than SLOTS frames whose last beat was accepted in earlier
//               cycles are still to be taken
//   Latency     a frame whose last beat is accepted in cycle t is offered from cycle t + LATENCY, or from the cycle after
//               the frame before it was taken if that is later. With
//                 T = ceil(log2(PE)),
//                 SLOTS = 1 if T + 1 < CF; 2 if T + 1 < 2 * CF; else floor((T + 2) / CF) + 1,
//               LATENCY = T + 1 for SLOTS <= 2, else T + 2
//   Throughput  one input beat a cycle, with no bubble between frames
//   Reset       the next beat accepted is beat 0 of a frame; frames under way are dropped; data is not reset
`default_nettype none

module argmax #(
  parameter int unsigned CHANNELS     = 4,     // numbers a frame
  parameter int unsigned PE           = 1,     // numbers a beat; divides CHANNELS
  parameter int unsigned INPUT_WIDTH  = 8,     // bits of a number
  parameter bit          INPUT_SIGNED = 1'b1,  // numbers are two's complement
  parameter int unsigned INDEX_WIDTH  = 2      // bits of the index, enough for CHANNELS - 1
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [PE*INPUT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                       s_axis_tvalid,
  output logic                            s_axis_tready,
  output logic [INDEX_WIDTH-1:0]          m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PE < 1 || CHANNELS < 1 || CHANNELS % PE != 0 || INPUT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: PE must divide CHANNELS and INPUT_WIDTH must be at least 1; got %0d, %0d and %0d",
           PE, CHANNELS, INPUT_WIDTH);
  end
  if (INDEX_WIDTH < 1 || INDEX_WIDTH < $clog2(CHANNELS)) begin : g_check_index
    $fatal(1, "%m: INDEX_WIDTH must hold CHANNELS - 1; got %0d bits for %0d channels", INDEX_WIDTH, CHANNELS);
  end

  localparam int unsigned CF         = CHANNELS / PE;
  localparam int unsigned CF_WIDTH   = (CF > 1) ? $clog2(CF) : 1;
  localparam int unsigned LEVELS     = $clog2(PE);
  localparam int unsigned LANE_WIDTH = (PE > 1) ? LEVELS : 1;
  localparam int unsigned SLOTS      = (LEVELS + 1 < CF)     ? 1 :
                                       (LEVELS + 1 < 2 * CF) ? 2 : (LEVELS + 2) / CF + 1;

  // ---- Beats -------------------------------------------------------------------------------------------------------
  logic [CF_WIDTH-1:0] beat;
  logic                last_beat;
  logic                slot_free;
  logic                accept;

  assign s_axis_tready = !last_beat || slot_free;
  assign accept        = s_axis_tvalid && s_axis_tready;

  always_ff @(posedge clk) begin
    if (accept) begin
      beat      <= last_beat ? '0 : beat + 1'b1;
      last_beat <= (CF == 1) || (CF > 1 && beat == CF_WIDTH'(CF - 2));
    end
    if (rst) begin
      beat      <= '0;
      last_beat <= CF == 1;
    end
  end

  // Bit k: a beat, or the last beat of a frame, was accepted k cycles ago.
  /* verilator lint_off UNUSEDSIGNAL */  // with one beat a frame only the last beat counts
  logic [LEVELS:0] active;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [LEVELS:0] closing;
  assign active[0]  = accept;
  assign closing[0] = accept && last_beat;
  if (LEVELS > 0) begin : g_under_way
    always_ff @(posedge clk) begin
      active[LEVELS:1]  <= active[LEVELS-1:0];
      closing[LEVELS:1] <= closing[LEVELS-1:0];
      if (rst) begin
        active[LEVELS:1]  <= '0;
        closing[LEVELS:1] <= '0;
      end
    end
  end

  // ---- The largest of a beat: one level of a binary tree a cycle ---------------------------------------------------
  // With the sign bit inverted, two's complement numbers are in the order of unsigned ones.
  for (genvar level = 0; level <= LEVELS; level++) begin : g_level
    localparam int unsigned NODES = (PE + 2**level - 1) / 2**level;
    /* verilator lint_off UNUSEDSIGNAL */  // one beat a frame: the last key; one lane: its number
    logic [NODES*INPUT_WIDTH-1:0] key;
    logic [NODES*LANE_WIDTH-1:0]  lane;
    /* verilator lint_on UNUSEDSIGNAL */
    if (level == 0) begin : g_lanes
      for (genvar n = 0; n < NODES; n++) begin : g_lane
        logic [INPUT_WIDTH-1:0] element;
        assign element = s_axis_tdata[n*INPUT_WIDTH +: INPUT_WIDTH];
        assign key[n*INPUT_WIDTH +: INPUT_WIDTH] =
            element ^ (INPUT_WIDTH'(INPUT_SIGNED) << (INPUT_WIDTH - 1));
        assign lane[n*LANE_WIDTH +: LANE_WIDTH] = LANE_WIDTH'(n);
      end
    end else begin : g_larger
      localparam int unsigned BELOW = (PE + 2**(level - 1) - 1) / 2**(level - 1);
      for (genvar n = 0; n < NODES; n++) begin : g_node
        logic [INPUT_WIDTH-1:0] left_key;
        logic [LANE_WIDTH-1:0]  left_lane;
        assign left_key  = g_level[level-1].key[2*n*INPUT_WIDTH +: INPUT_WIDTH];
        assign left_lane = g_level[level-1].lane[2*n*LANE_WIDTH +: LANE_WIDTH];
        if (2 * n + 1 < BELOW) begin : g_pair
          logic [INPUT_WIDTH-1:0] right_key;
          logic [LANE_WIDTH-1:0]  right_lane;
          logic                   take_right;
          assign right_key  = g_level[level-1].key[(2*n+1)*INPUT_WIDTH +: INPUT_WIDTH];
          assign right_lane = g_level[level-1].lane[(2*n+1)*LANE_WIDTH +: LANE_WIDTH];
          assign take_right = right_key > left_key;
          always_ff @(posedge clk) begin
            key[n*INPUT_WIDTH +: INPUT_WIDTH] <= take_right ? right_key : left_key;
            lane[n*LANE_WIDTH +: LANE_WIDTH]  <= take_right ? right_lane : left_lane;
          end
        end else begin : g_single
          always_ff @(posedge clk) begin
            key[n*INPUT_WIDTH +: INPUT_WIDTH] <= left_key;
            lane[n*LANE_WIDTH +: LANE_WIDTH]  <= left_lane;
          end
        end
      end
    end
  end

  // ---- The largest of the beats of a frame ---------------------------------------------------------------------------
  logic [INDEX_WIDTH-1:0] result;
  if (CF > 1) begin : g_running
    logic [INPUT_WIDTH-1:0] best_key;
    logic [INDEX_WIDTH-1:0] best_index;
    logic [INDEX_WIDTH-1:0] base;   // channel number of lane 0 of the beat that leaves the tree
    logic                   first;  // that beat is the first of its frame
    logic                   better;
    logic [INDEX_WIDTH-1:0] index;
    if (PE > 1) begin : g_lanes
      assign index = base + INDEX_WIDTH'(g_level[LEVELS].lane);
    end else begin : g_lane
      assign index = base;
    end
    assign better = first || g_level[LEVELS].key > best_key;
    assign result = better ? index : best_index;
    always_ff @(posedge clk) begin
      if (active[LEVELS]) begin
        base  <= closing[LEVELS] ? '0 : base + INDEX_WIDTH'(PE);
        first <= closing[LEVELS];
      end
      if (rst) begin
        base  <= '0;
        first <= 1'b1;
      end
    end
    always_ff @(posedge clk) begin
      if (active[LEVELS] && better) begin
        best_key   <= g_level[LEVELS].key;
        best_index <= index;
      end
    end
  end else if (PE > 1) begin : g_one_beat
    assign result = INDEX_WIDTH'(g_level[LEVELS].lane);
  end else begin : g_one_channel
    assign result = '0;
  end

  result_queue #(
    .DATA_WIDTH(INDEX_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (closing[0]),
    .available    (slot_free),
    .result_valid (closing[LEVELS]),
    .result_data  (result),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
