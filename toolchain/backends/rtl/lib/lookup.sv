// SPDX-License-Identifier: Apache-2.0
//
// Any function of one element, as a table: one for all channels, or one a channel.
//
//   Equation    y[c] = table[row(c)][x[c] - FIRST], row(c) = 0 if ROWS = 1, else c; channel c = beat * PE + lane
//   Input       a beat is accepted in a cycle iff fewer than L + 1 beats accepted in earlier cycles are still inside.
//               Elements lie in [FIRST, FIRST + ENTRIES)
//   Latency     L = 4 if DEPTH <= 64, else L = 5, where DEPTH = ENTRIES if ROWS = 1, else ENTRIES * CHANNELS / PE: a beat
//               accepted in cycle t is offered from cycle t + L, or from the cycle after the beat before it was taken if
//               that is later
//   Throughput  one beat a cycle
//   Reset       the next beat accepted is beat 0 of a frame; beats under way are dropped; data is not reset
//
// Every lane has a memory of its own, of DEPTH words, because all lanes look up in the same cycle.
`default_nettype none

module lookup #(
  parameter int unsigned CHANNELS     = 4,      // elements a frame
  parameter int unsigned PE           = 1,      // elements a beat; divides CHANNELS
  parameter int unsigned ROWS         = 1,      // tables: 1, or CHANNELS
  parameter int unsigned ENTRIES      = 16,     // entries of a table
  parameter int unsigned INPUT_WIDTH  = 4,      // bits of an input element
  parameter bit          INPUT_SIGNED = 1'b0,   // input elements are two's complement
  parameter int          FIRST        = 0,      // the element that entry 0 is for
  parameter int unsigned OUTPUT_WIDTH = 8,      // bits of an entry and of an output element
  // ROWS = 1: word e is entry e. Else word beat * ENTRIES + e: entry e of lane p at bit p * OUTPUT_WIDTH. One hexadecimal
  // word a line.
  parameter              TABLE_FILE   = "",
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              MEMORY_STYLE = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
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
  if (ROWS != 1 && ROWS != CHANNELS) begin : g_check_rows
    $fatal(1, "%m: ROWS must be 1 or CHANNELS; got %0d and %0d", ROWS, CHANNELS);
  end
  if (ENTRIES < 1 || INPUT_WIDTH < 1 || OUTPUT_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: ENTRIES, INPUT_WIDTH and OUTPUT_WIDTH must be at least 1; got %0d, %0d and %0d",
           ENTRIES, INPUT_WIDTH, OUTPUT_WIDTH);
  end

  localparam bit          OWN_TABLES    = ROWS > 1;
  localparam int unsigned CF            = CHANNELS / PE;
  localparam int unsigned GROUPS        = OWN_TABLES ? CF : 1;  // tables of a lane
  localparam int unsigned DEPTH         = GROUPS * ENTRIES;
  localparam int unsigned ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  // Up to this depth a memory is of LUTs, which may stand behind the sum that makes the address.
  localparam int unsigned DISTRIBUTED_DEPTH = 64;
  localparam bit          DISTRIBUTED       = DEPTH <= DISTRIBUTED_DEPTH;
  localparam int unsigned RESULT_CYCLE      = DISTRIBUTED ? 2 : 3;
  localparam int unsigned SLOTS             = RESULT_CYCLE + 3;

  logic                  accept;
  logic [RESULT_CYCLE:1] active;  // bit k: a beat was accepted k cycles ago
  assign accept = s_axis_tvalid && s_axis_tready;
  always_ff @(posedge clk) begin
    active <= {active[RESULT_CYCLE-1:1], accept};
    if (rst) active <= '0;
  end

  // Address of the beat's tables, less FIRST: with an element added, the address of the entry.
  logic [ADDRESS_WIDTH-1:0] base;
  if (GROUPS > 1) begin : g_groups
    logic last_group;
    wrap_counter #(
      .COUNT(GROUPS)
    ) u_group (
      .clk (clk),
      .rst (rst),
      .step(accept),
      .last(last_group)
    );
    always_ff @(posedge clk) begin
      if (accept) base <= last_group ? -ADDRESS_WIDTH'(FIRST) : base + ADDRESS_WIDTH'(ENTRIES);
      if (rst) base <= -ADDRESS_WIDTH'(FIRST);
    end
  end else begin : g_group
    assign base = -ADDRESS_WIDTH'(FIRST);
  end

  localparam int unsigned EXTENDED_WIDTH = (ADDRESS_WIDTH > INPUT_WIDTH) ? ADDRESS_WIDTH : INPUT_WIDTH;
  localparam int unsigned WORD_WIDTH     = OWN_TABLES ? PE * OUTPUT_WIDTH : OUTPUT_WIDTH;

  logic [PE*OUTPUT_WIDTH-1:0] results;
  for (genvar p = 0; p < PE; p++) begin : g_lane
    localparam int unsigned LOW = OWN_TABLES ? p * OUTPUT_WIDTH : 0;  // of the lane's entry in a word

    // Where elements are wider than addresses, the upper bits follow from the lower ones.
    /* verilator lint_off UNUSEDSIGNAL */
    logic [EXTENDED_WIDTH-1:0] extended;
    /* verilator lint_on UNUSEDSIGNAL */
    logic [ADDRESS_WIDTH-1:0]  address;
    logic [OUTPUT_WIDTH-1:0]   entry;
    if (INPUT_SIGNED) begin : g_signed
      assign extended = EXTENDED_WIDTH'($signed(s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]));
    end else begin : g_unsigned
      assign extended = EXTENDED_WIDTH'(s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]);
    end
    always_ff @(posedge clk) address <= base + extended[ADDRESS_WIDTH-1:0];

    (* rom_style = MEMORY_STYLE, ram_style = MEMORY_STYLE *) logic [WORD_WIDTH-1:0] memory [DEPTH];
    initial $readmemh(TABLE_FILE, memory);
    if (DISTRIBUTED) begin : g_luts
      always_ff @(posedge clk) entry <= memory[address][LOW +: OUTPUT_WIDTH];
    end else begin : g_block
      // A block RAM's own output is late: a register behind it.
      logic [OUTPUT_WIDTH-1:0] word;
      always_ff @(posedge clk) word <= memory[address][LOW +: OUTPUT_WIDTH];
      always_ff @(posedge clk) entry <= word;
    end
    assign results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = entry;
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
