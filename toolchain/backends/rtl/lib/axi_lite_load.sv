// SPDX-License-Identifier: Apache-2.0
//
// AXI4-Lite slave through which a host replaces the words of loadable memories.
//
//   Function    byte address 0 reads as IDENTIFICATION. A write to word address FIRST .. LAST (byte address divided by 4)
//               goes out on load_bus = {write, word address, data} for one cycle. The lowest two address bits are not used
//   Answers     OKAY for those; SLVERR, and nothing is written, for a write without all four strobes, a write to a word below
//               FIRST, and a read of a word from FIRST to LAST, which cannot be read back; DECERR for all others
//   Latency     a write's answer is offered 4 cycles after the later of its address and its data was taken, 2 cycles after
//               load_bus carried it, or later; a read's in the cycle after its address. A beat that a module with a
//               constant_memory accepts when the answer is there, or later, meets the new word
//   Throughput  a write every 5 cycles, a read every 2 cycles, one of each under way
//   Reset       transfers under way are dropped; what was written stays
`default_nettype none

module axi_lite_load #(
  parameter int unsigned ADDRESS_WIDTH  = 12,    // bits of a byte address, 3 to 32
  parameter int unsigned FIRST          = 16,    // lowest word address of a memory, at least 1
  parameter int unsigned LAST           = 1023,  // highest word address of a memory
  parameter bit [31:0]   IDENTIFICATION = 32'd0  // of the design and the places of its memories
) (
  input  wire logic                     clk,
  input  wire logic                     rst,
  /* verilator lint_off UNUSEDSIGNAL */  // bytes of a word and kinds of access are not told apart
  input  wire logic [ADDRESS_WIDTH-1:0] s_axil_awaddr,
  input  wire logic [2:0]               s_axil_awprot,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic                     s_axil_awvalid,
  output logic                          s_axil_awready,
  input  wire logic [31:0]              s_axil_wdata,
  input  wire logic [3:0]               s_axil_wstrb,
  input  wire logic                     s_axil_wvalid,
  output logic                          s_axil_wready,
  output logic [1:0]                    s_axil_bresp,
  output logic                          s_axil_bvalid,
  input  wire logic                     s_axil_bready,
  /* verilator lint_off UNUSEDSIGNAL */  // as above
  input  wire logic [ADDRESS_WIDTH-1:0] s_axil_araddr,
  input  wire logic [2:0]               s_axil_arprot,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic                     s_axil_arvalid,
  output logic                          s_axil_arready,
  output logic [31:0]                   s_axil_rdata,
  output logic [1:0]                    s_axil_rresp,
  output logic                          s_axil_rvalid,
  input  wire logic                     s_axil_rready,
  output logic [64:0]                   load_bus
);
  if (ADDRESS_WIDTH < 3 || ADDRESS_WIDTH > 32) begin : g_check_width
    $fatal(1, "%m: ADDRESS_WIDTH must be 3 to 32; got %0d", ADDRESS_WIDTH);
  end
  if (FIRST < 1 || LAST < FIRST || (LAST >> (ADDRESS_WIDTH - 2)) != 0) begin : g_check_map
    $fatal(1, "%m: FIRST must be at least 1, LAST at least FIRST and below 2**(ADDRESS_WIDTH - 2); got %0d, %0d and %0d",
           FIRST, LAST, ADDRESS_WIDTH);
  end

  localparam logic [1:0] OKAY = 2'd0, SLVERR = 2'd2, DECERR = 2'd3;

  // ---- Writes: address and data come in any order; one write is under way until its answer was taken -----------------
  // Initial values, too: no reset would bring back what a write before the first one had replaced.
  /* verilator lint_off PROCASSINIT */
  logic        has_address = 1'b0;
  logic        has_data    = 1'b0;
  logic        write       = 1'b0;
  /* verilator lint_on PROCASSINIT */
  logic        complete;    // all strobes of the data
  logic        issued;
  logic [1:0]  age;         // cycles since it was issued, one hot
  logic [31:0] address;
  logic [31:0] data;
  logic        issue;
  logic        in_map;
  logic [63:0] word;        // address and data of the write
  assign load_bus       = {write, word};
  assign s_axil_awready = !has_address;
  assign s_axil_wready  = !has_data;
  assign issue          = has_address && has_data && !issued;
  assign in_map         = address >= FIRST && address <= LAST;

  always_ff @(posedge clk) begin
    if (s_axil_awvalid && s_axil_awready) address <= 32'(s_axil_awaddr[ADDRESS_WIDTH-1:2]);
    if (s_axil_wvalid && s_axil_wready) begin
      data     <= s_axil_wdata;
      complete <= &s_axil_wstrb;
    end
    write <= issue && in_map && complete && !rst;
    word  <= {address, data};
    if (issue) s_axil_bresp <= (address > LAST) ? DECERR : (in_map && complete) ? OKAY : SLVERR;

    has_address <= has_address || s_axil_awvalid;
    has_data    <= has_data || s_axil_wvalid;
    issued      <= issued || issue;
    age         <= {age[0], issue};
    if (age[1]) s_axil_bvalid <= 1'b1;
    if (rst || (s_axil_bvalid && s_axil_bready)) begin
      has_address   <= 1'b0;
      has_data      <= 1'b0;
      issued        <= 1'b0;
      age           <= '0;
      s_axil_bvalid <= 1'b0;
    end
  end

  // ---- Reads -------------------------------------------------------------------------------------------------------
  logic [31:0] asked;
  assign asked          = 32'(s_axil_araddr[ADDRESS_WIDTH-1:2]);
  assign s_axil_arready = !s_axil_rvalid;
  always_ff @(posedge clk) begin
    if (s_axil_arready) begin
      s_axil_rdata <= (asked == 0) ? IDENTIFICATION : '0;
      s_axil_rresp <= (asked == 0) ? OKAY : (asked >= FIRST && asked <= LAST) ? SLVERR : DECERR;
    end
    s_axil_rvalid <= s_axil_rvalid ? !s_axil_rready : s_axil_arvalid;
    if (rst) s_axil_rvalid <= 1'b0;
  end
endmodule

`default_nettype wire
