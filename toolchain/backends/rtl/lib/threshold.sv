// SPDX-License-Identifier: Apache-2.0
//
// Produces, for every channel, OUTPUT_OFFSET plus the number of those THRESHOLD_COUNT thresholds of the channel that are
// not larger than the channel's number.
//
//   Equation    y[c] = OUTPUT_OFFSET + #{ t : threshold[c][t] <= x[c] }, of which OUTPUT_WIDTH bits are kept;
//               channel c = beat * PE + lane
//   Input       a beat is accepted in a cycle iff fewer than L + 1 beats accepted in earlier cycles are still inside
//   Latency     L = N + 2 if CF <= 64 and CF * 2**N <= 4096 and not LOADABLE, else L = N + 3, where
//               N = ceil(log2(THRESHOLD_COUNT + 1)) and CF = CHANNELS / PE: a beat accepted in cycle t is offered from cycle
//               t + L, or from the cycle after the beat before it was taken if that is later
//   Throughput  one beat a cycle
//   Loading     where LOADABLE, load_bus replaces thresholds, as constant_memory says. Beats under way may see old and new ones
//   Reset       the next beat accepted is beat 0 of a frame; beats under way are dropped; data is not reset
//
// A binary search in the ascending list, one comparator a lane and level, one level a cycle: the count is found bit by bit
// from the highest, bit j being set iff threshold number (bits so far) + 2**j - 1 is not larger than x. With few beats a
// frame (L = N + 2) every level looks its one threshold up in a table of LUTs; with many, the whole word is read from a
// (block) memory, and every level passes on the half of it that is still needed.
`default_nettype none

module threshold #(
  parameter int unsigned CHANNELS        = 4,     // numbers a frame
  parameter int unsigned PE              = 1,     // numbers a beat; divides CHANNELS
  parameter int unsigned INPUT_WIDTH     = 8,     // bits of a number
  parameter bit          INPUT_SIGNED    = 1'b1,  // numbers are two's complement
  parameter int unsigned THRESHOLD_COUNT = 3,     // thresholds a channel, ascending; equal ones allowed
  parameter int unsigned THRESHOLD_WIDTH = 8,     // bits of a threshold, two's complement
  parameter int unsigned OUTPUT_WIDTH    = 2,     // bits of an output
  parameter int          OUTPUT_OFFSET   = 0,     // output for a number below all thresholds
  // Word beat: threshold t of lane p at bit (p * THRESHOLD_COUNT + t) * THRESHOLD_WIDTH; one hexadecimal word a line.
  parameter              THRESHOLD_FILE  = "",
  parameter bit          LOADABLE        = 1'b0,  // thresholds can be replaced through load_bus
  /* verilator lint_off UNUSEDPARAM */  // not used where tables hold the thresholds
  parameter int unsigned LOAD_BASE       = 0      // word address there: see constant_memory
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  /* verilator lint_off UNUSEDSIGNAL */  // not used where LOADABLE is 0
  input  wire logic [64:0]                load_bus,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic [PE*INPUT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                       s_axis_tvalid,
  output logic                            s_axis_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PE < 1 || CHANNELS < 1 || CHANNELS % PE != 0) begin : g_check_folding
    $fatal(1, "%m: PE must divide CHANNELS; got %0d and %0d", PE, CHANNELS);
  end
  if (INPUT_WIDTH < 1 || OUTPUT_WIDTH < 1 || THRESHOLD_COUNT < 1 || THRESHOLD_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: INPUT_WIDTH, OUTPUT_WIDTH, THRESHOLD_COUNT, THRESHOLD_WIDTH must be at least 1; got %0d, %0d, %0d, %0d",
           INPUT_WIDTH, OUTPUT_WIDTH, THRESHOLD_COUNT, THRESHOLD_WIDTH);
  end

  localparam int unsigned CF         = CHANNELS / PE;
  localparam int unsigned CF_WIDTH   = (CF > 1) ? $clog2(CF) : 1;
  localparam int unsigned LEVELS     = $clog2(THRESHOLD_COUNT + 1);
  localparam int unsigned PLACES     = 2**LEVELS - 1;  // of the list, THRESHOLD_COUNT of them in use
  localparam int unsigned WORD_WIDTH = PE * THRESHOLD_COUNT * THRESHOLD_WIDTH;

  // Cycles from acceptance to the first comparison, and to the result.
  localparam bit          TABLES        = !LOADABLE && CF <= 64 && CF * 2**LEVELS <= 4096;
  localparam int unsigned FIRST_CYCLE   = TABLES ? 1 : 2;
  localparam int unsigned RESULT_CYCLE  = FIRST_CYCLE + LEVELS - 1;
  localparam int unsigned SLOTS         = RESULT_CYCLE + 3;

  localparam int unsigned SIGNED_WIDTH  = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned COMPARE_WIDTH = (SIGNED_WIDTH > THRESHOLD_WIDTH) ? SIGNED_WIDTH : THRESHOLD_WIDTH;

  // ---- Beats -------------------------------------------------------------------------------------------------------
  logic [CF_WIDTH-1:0] beat;
  logic                accept;
  assign accept = s_axis_tvalid && s_axis_tready;
  always_ff @(posedge clk) begin
    if (accept) beat <= (beat == CF_WIDTH'(CF - 1)) ? '0 : beat + 1'b1;
    if (rst) beat <= '0;
  end

  logic [RESULT_CYCLE:1] active;  // bit k: a beat was accepted k cycles ago
  if (RESULT_CYCLE > 1) begin : g_under_way
    always_ff @(posedge clk) begin
      active <= {active[RESULT_CYCLE-1:1], accept};
      if (rst) active <= '0;
    end
  end else begin : g_one_cycle
    always_ff @(posedge clk) active <= !rst && accept;
  end

  // ---- Search ------------------------------------------------------------------------------------------------------
  // A place of the list that is not in use counts as larger than any number.
  logic [PE*LEVELS-1:0] counts;
  if (TABLES) begin : g_tables
    logic [WORD_WIDTH-1:0] memory [CF];
    initial $readmemh(THRESHOLD_FILE, memory);
    // The lists of a lane, each filled up to a power of two. The memory is read at fixed addresses only: constants to
    // synthesis, which makes every look-up a function of few bits.
    localparam int unsigned LIST_WIDTH  = THRESHOLD_COUNT * THRESHOLD_WIDTH;
    localparam int unsigned SPACE_WIDTH = 2**LEVELS * THRESHOLD_WIDTH;
    for (genvar p = 0; p < PE; p++) begin : g_lists
      logic [CF*SPACE_WIDTH-1:0] lists;
      for (genvar b = 0; b < CF; b++) begin : g_beat
        assign lists[b*SPACE_WIDTH +: SPACE_WIDTH] = SPACE_WIDTH'(memory[b][p*LIST_WIDTH +: LIST_WIDTH]);
      end
    end

    // Level k finds bit LEVELS - 1 - k of the count, by a look at the place of which the bits found before are the upper
    // ones, then a 0, then ones. All of this belongs to the cycle k + 1 after acceptance.
    for (genvar k = 0; k < LEVELS; k++) begin : g_level
      /* verilator lint_off UNUSEDSIGNAL */  // with one beat a frame it has no influence
      logic [CF_WIDTH-1:0] beat_before;       // of the beat that is about to enter this level
      /* verilator lint_on UNUSEDSIGNAL */
      if (k == 0) begin : g_first
        assign beat_before = beat;
      end else begin : g_next
        always_ff @(posedge clk) beat_before <= g_level[k-1].beat_before;
      end
      for (genvar p = 0; p < PE; p++) begin : g_lane
        logic signed [SIGNED_WIDTH-1:0]    number_before;
        logic signed [SIGNED_WIDTH-1:0]    number;
        logic signed [THRESHOLD_WIDTH-1:0] middle;
        logic                              used;
        logic                              reached;
        logic [k:0]                        count;
        if (k == 0) begin : g_first
          if (INPUT_SIGNED) begin : g_signed
            assign number_before = s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH];
          end else begin : g_unsigned
            assign number_before = {1'b0, s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]};
          end
          assign count = reached;
        end else begin : g_next
          logic [k-1:0] count_before;
          always_ff @(posedge clk) count_before <= g_level[k-1].g_lane[p].count;
          assign number_before = g_level[k-1].g_lane[p].number;
          assign count         = {count_before, reached};
        end

        always_ff @(posedge clk) number <= number_before;

        // Both places that the level before may lead to are read while it compares; its outcome selects the threshold, not
        // the address, so that table and comparison lie side by side in a cycle and not one after the other.
        if (k == 0) begin : g_middle
          localparam logic [LEVELS-1:0] PLACE = LEVELS'(2**(LEVELS - 1) - 1);
          logic [CF_WIDTH+LEVELS-1:0] address;
          assign address = {(CF > 1) ? beat_before : '0, PLACE};
          always_ff @(posedge clk) begin
            middle <= g_lists[p].lists[32'(address)*THRESHOLD_WIDTH +: THRESHOLD_WIDTH];
            used   <= 32'(PLACE) < THRESHOLD_COUNT;
          end
        end else begin : g_found
          logic [2*THRESHOLD_WIDTH-1:0] middle_of;
          logic [1:0]                   used_of;
          for (genvar r = 0; r < 2; r++) begin : g_reached
            logic [LEVELS-1:0]          place;
            logic [CF_WIDTH+LEVELS-1:0] address;
            if (k == 1) begin : g_second
              assign place = {1'(r), (LEVELS - k)'(2**(LEVELS - k - 1) - 1)};
            end else begin : g_later
              assign place = {g_level[k-1].g_lane[p].g_next.count_before, 1'(r), (LEVELS - k)'(2**(LEVELS - k - 1) - 1)};
            end
            assign address      = {(CF > 1) ? beat_before : '0, place};
            assign middle_of[r*THRESHOLD_WIDTH +: THRESHOLD_WIDTH] =
              g_lists[p].lists[32'(address)*THRESHOLD_WIDTH +: THRESHOLD_WIDTH];
            assign used_of[r] = 32'(place) < THRESHOLD_COUNT;
          end
          always_ff @(posedge clk) begin
            middle <= g_level[k-1].g_lane[p].reached ? middle_of[THRESHOLD_WIDTH +: THRESHOLD_WIDTH]
                                                     : middle_of[0 +: THRESHOLD_WIDTH];
            used   <= g_level[k-1].g_lane[p].reached ? used_of[1] : used_of[0];
          end
        end
        assign reached = used && COMPARE_WIDTH'(middle) <= COMPARE_WIDTH'(number);
      end
    end
    for (genvar p = 0; p < PE; p++) begin : g_count
      assign counts[p*LEVELS +: LEVELS] = g_level[LEVELS-1].g_lane[p].count;
    end
  end else begin : g_memory
    logic [WORD_WIDTH-1:0] word;  // belongs to the cycle 2 after acceptance
    constant_memory #(
      .DATA_WIDTH(WORD_WIDTH),
      .DEPTH     (CF),
      .FILE      (THRESHOLD_FILE),
      .LOADABLE  (LOADABLE),
      .LOAD_BASE (LOAD_BASE)
    ) u_constant_memory (
      .clk     (clk),
      .load_bus(load_bus),
      .address (beat),
      .data    (word)
    );

    // Level k finds bit LEVELS - 1 - k of the count, among 2**(LEVELS - k) - 1 places. All of this belongs to the cycle
    // k + 2 after acceptance.
    for (genvar p = 0; p < PE; p++) begin : g_lane
      logic signed [SIGNED_WIDTH-1:0] arriving;
      logic signed [SIGNED_WIDTH-1:0] arrived;
      if (INPUT_SIGNED) begin : g_signed
        assign arriving = s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH];
      end else begin : g_unsigned
        assign arriving = {1'b0, s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]};
      end
      always_ff @(posedge clk) arrived <= arriving;

      for (genvar k = 0; k < LEVELS; k++) begin : g_level
        localparam int unsigned HERE   = 2**(LEVELS - k) - 1;
        localparam int unsigned MIDDLE = HERE / 2;
        logic signed [SIGNED_WIDTH-1:0]    number;
        logic [HERE*THRESHOLD_WIDTH-1:0]   places;
        logic [HERE-1:0]                   used;
        logic signed [THRESHOLD_WIDTH-1:0] middle;
        logic                              reached;
        logic [k:0]                        count;
        assign middle  = places[MIDDLE*THRESHOLD_WIDTH +: THRESHOLD_WIDTH];
        assign reached = used[MIDDLE] && COMPARE_WIDTH'(middle) <= COMPARE_WIDTH'(number);
        if (k == 0) begin : g_first
          localparam int unsigned LIST_WIDTH = THRESHOLD_COUNT * THRESHOLD_WIDTH;
          always_ff @(posedge clk) number <= arrived;
          assign places = (PLACES * THRESHOLD_WIDTH)'(word[p*LIST_WIDTH +: LIST_WIDTH]);
          assign used   = PLACES'({THRESHOLD_COUNT{1'b1}});
          assign count  = reached;
        end else begin : g_next
          localparam int unsigned BEFORE = 2**(LEVELS - k + 1) - 1;
          logic [k-1:0] count_before;
          always_ff @(posedge clk) begin
            number       <= g_level[k-1].number;
            count_before <= g_level[k-1].count;
            places <= g_level[k-1].reached ? g_level[k-1].places[BEFORE*THRESHOLD_WIDTH-1 -: HERE*THRESHOLD_WIDTH]
                                           : g_level[k-1].places[0 +: HERE*THRESHOLD_WIDTH];
            used   <= g_level[k-1].reached ? g_level[k-1].used[BEFORE-1 -: HERE] : g_level[k-1].used[0 +: HERE];
          end
          assign count = {count_before, reached};
        end
      end
      assign counts[p*LEVELS +: LEVELS] = g_level[LEVELS-1].count;
    end
  end

  logic [PE*OUTPUT_WIDTH-1:0] results;
  for (genvar p = 0; p < PE; p++) begin : g_result
    /* verilator lint_off UNUSEDSIGNAL */  // the output may keep fewer bits than the count has
    logic [LEVELS-1:0] count;
    /* verilator lint_on UNUSEDSIGNAL */
    assign count = counts[p*LEVELS +: LEVELS];
    assign results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = OUTPUT_WIDTH'(count) + OUTPUT_WIDTH'(OUTPUT_OFFSET);
  end

  result_queue #(
    .DATA_WIDTH(PE * OUTPUT_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (accept),
    .available    (s_axis_tready),
    .result_valid (active[RESULT_CYCLE]),
    .result_data  (results),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
