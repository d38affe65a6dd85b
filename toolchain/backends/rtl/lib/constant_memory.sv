// SPDX-License-Identifier: Apache-2.0
//
// Memory of constants, filled from a file, with registered output; where LOADABLE, its words can be replaced at run time.
//
//   Equation    data in cycle t + 2 = word number address(t): that of FILE, or the last one that was loaded
//   Loading     a word is CHUNKS = ceil(DATA_WIDTH / 32) chunks, chunk c being its bits from 32 * c on. load_bus carries
//               {write, word address, chunk}; chunk c of word w has address LOAD_BASE + w * 2**ceil(log2(CHUNKS)) + c.
//               A word changes as a whole, with its last chunk, which takes the others from what was written before it. On
//               the bus in cycle t, it holds for addresses from cycle t + 2 on; the word is undefined for one in cycle t + 1
//   Latency     2 cycles
//   Throughput  one word a cycle, one chunk a cycle
//   Reset       none
//
// Both registers are always there, at the cheaper place: a memory small enough for LUTs has a register for its address and
// one for its word, a larger one (a block RAM) has two for its word, because a block RAM's own output is late.
`default_nettype none

module constant_memory #(
  parameter int unsigned DATA_WIDTH = 8,          // bits of a word
  parameter int unsigned DEPTH      = 16,         // words
  parameter              FILE       = "",         // one hexadecimal word a line, DEPTH lines, address 0 first
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              STYLE      = "auto",
  /* verilator lint_on UNUSEDPARAM */
  parameter bit          LOADABLE   = 1'b0,       // words can be replaced; without it load_bus is not used
  // Word address of the first chunk: a multiple of 2**(ceil(log2(DEPTH)) + ceil(log2(CHUNKS))).
  /* verilator lint_off UNUSEDPARAM */  // not used where LOADABLE is 0
  parameter int unsigned LOAD_BASE  = 0
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                                             clk,
  /* verilator lint_off UNUSEDSIGNAL */  // not used where LOADABLE is 0
  input  wire logic [64:0]                                      load_bus,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic [((DEPTH > 1) ? $clog2(DEPTH) : 1) - 1 : 0] address,
  output logic [DATA_WIDTH-1:0]                                 data
);
  localparam int unsigned ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1;

  if (DATA_WIDTH < 1 || DEPTH < 1) begin : g_check
    $fatal(1, "%m: DATA_WIDTH and DEPTH must be at least 1; got %0d and %0d", DATA_WIDTH, DEPTH);
  end

  // Up to this depth a word's bit costs a few LUTs, and a block RAM would be almost empty.
  localparam int unsigned DISTRIBUTED_DEPTH = 64;

  // Nobody relies on a word in the cycle that writes it, so a tool need not add logic for that.
  (* rom_style = STYLE, ram_style = STYLE, no_rw_check *) logic [DATA_WIDTH-1:0] memory [DEPTH];
  initial $readmemh(FILE, memory);

  if (LOADABLE) begin : g_load
    localparam int unsigned CHUNKS      = (DATA_WIDTH + 31) / 32;
    localparam int unsigned CHUNK_BITS  = $clog2(CHUNKS);
    localparam int unsigned REGION_BITS = $clog2(DEPTH) + CHUNK_BITS;
    localparam int unsigned PLACE_WIDTH = (REGION_BITS > 0) ? REGION_BITS : 1;
    if (LOAD_BASE % 2**REGION_BITS != 0) begin : g_check_base
      $fatal(1, "%m: LOAD_BASE must be a multiple of %0d; got %0d", 2**REGION_BITS, LOAD_BASE);
    end

    // The bus comes from afar: everything here works on registers of its own. Nothing is written before the first reset.
    /* verilator lint_off PROCASSINIT */
    logic                     write = 1'b0;
    /* verilator lint_on PROCASSINIT */
    logic [PLACE_WIDTH-1:0]   place;
    logic [31:0]              chunk;
    always_ff @(posedge clk) begin
      write <= load_bus[64] && load_bus[63:32] >> REGION_BITS == LOAD_BASE >> REGION_BITS;
      place <= load_bus[32 +: PLACE_WIDTH];
      chunk <= load_bus[31:0];
    end

    logic [ADDRESS_WIDTH-1:0] index;
    logic [31:0]              number;
    assign index  = (DEPTH > 1) ? ADDRESS_WIDTH'(place >> CHUNK_BITS) : '0;
    assign number = 32'(place) & (2**CHUNK_BITS - 1);

    /* verilator lint_off UNUSEDSIGNAL */  // the last chunk may have bits above the word
    logic [32*CHUNKS-1:0]     word;
    /* verilator lint_on UNUSEDSIGNAL */
    assign word[32*(CHUNKS-1) +: 32] = chunk;
    for (genvar c = 0; c + 1 < CHUNKS; c++) begin : g_held
      logic [31:0] held;
      always_ff @(posedge clk) if (write && number == c) held <= chunk;
      assign word[32*c +: 32] = held;
    end
    // Not always_ff: the memory has its initial content from another process.
    always @(posedge clk) if (write && number == CHUNKS - 1) memory[index] <= word[DATA_WIDTH-1:0];
  end

  // The attribute keeps a tool from merging the registers of columns that are equal: in a memory of few words many are,
  // and one register for all of them would be far from most of its loads. (Yosys looks for it on the process.)
  if (DEPTH <= DISTRIBUTED_DEPTH) begin : g_address_register
    logic [ADDRESS_WIDTH-1:0] address_register;
    always_ff @(posedge clk) address_register <= address;
    (* keep = "true" *) always_ff @(posedge clk) data <= memory[address_register];
  end else begin : g_data_register
    logic [DATA_WIDTH-1:0] data_register;
    always_ff @(posedge clk) data_register <= memory[address];
    (* keep = "true" *) always_ff @(posedge clk) data <= data_register;
  end
endmodule

`default_nettype wire
