// SPDX-License-Identifier: Apache-2.0
//
// Read-only memory, filled from a file, with registered output.
//
//   Equation    data in cycle t + 2 = word number address(t) of FILE
//   Latency     2 cycles
//   Throughput  one word a cycle
//   Reset       none
//
// Both registers are always there, at the cheaper place: a memory small enough for LUTs has a register for its address and
// one for its word, a larger one (a block RAM) has two for its word, because a block RAM's own output is late.
`default_nettype none

module constant_memory #(
  parameter int unsigned DATA_WIDTH    = 8,          // bits of a word
  parameter int unsigned DEPTH         = 16,         // words
  parameter              FILE          = "",         // one hexadecimal word a line, DEPTH lines, address 0 first
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              STYLE         = "auto",
  /* verilator lint_on UNUSEDPARAM */
  // Derived from DEPTH: leave alone.
  parameter int unsigned ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
  input  wire logic                     clk,
  input  wire logic [ADDRESS_WIDTH-1:0] address,
  output logic [DATA_WIDTH-1:0]         data
);
  if (DATA_WIDTH < 1 || DEPTH < 1) begin : g_check
    $fatal(1, "%m: DATA_WIDTH and DEPTH must be at least 1; got %0d and %0d", DATA_WIDTH, DEPTH);
  end

  // Up to this depth a word's bit costs a few LUTs, and a block RAM would be almost empty.
  localparam int unsigned DISTRIBUTED_DEPTH = 64;

  (* rom_style = STYLE, ram_style = STYLE *) logic [DATA_WIDTH-1:0] memory [DEPTH];
  initial $readmemh(FILE, memory);

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
