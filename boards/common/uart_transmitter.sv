// SPDX-License-Identifier: Apache-2.0
//
// Asynchronous serial transmitter: 1 start bit, 8 data bits (lowest first), no parity, 1 stop bit.
//
//   Equation    txd = 0, byte_data[0] .. byte_data[7], 1, each for CLOCKS_PER_BIT cycles; 1 while idle
//   Input       a byte is taken in a cycle with byte_valid and byte_ready; byte_ready does not wait for byte_valid
//   Latency     the start bit is on txd from the cycle after the byte was taken
//   Throughput  one byte in 10 * CLOCKS_PER_BIT cycles, back to back
//   Reset       gives up the byte under way; the line goes high
`default_nettype none

module uart_transmitter #(
  parameter int unsigned CLOCKS_PER_BIT = 100  // clock cycles of a bit, at least 2
) (
  input  wire logic       clk,
  input  wire logic       rst,
  input  wire logic [7:0] byte_data,
  input  wire logic       byte_valid,
  output logic            byte_ready,
  output logic            txd
);
  if (CLOCKS_PER_BIT < 2) begin : g_check
    $fatal(1, "%m: CLOCKS_PER_BIT must be at least 2; got %0d", CLOCKS_PER_BIT);
  end

  localparam int unsigned TIMER_WIDTH = $clog2(CLOCKS_PER_BIT);
  localparam logic [TIMER_WIDTH-1:0] LAST_CYCLE = TIMER_WIDTH'(CLOCKS_PER_BIT - 1);

  logic [TIMER_WIDTH-1:0] timer;      // cycles of the current bit that are left
  logic [3:0]             bits_left;  // bits of the current byte after this one
  logic [8:0]             shift;      // those bits, next one lowest
  logic                   last_cycle;

  assign last_cycle = timer == '0;
  assign byte_ready = last_cycle && bits_left == '0;

  always_ff @(posedge clk) begin
    if (!last_cycle) begin
      timer <= timer - 1'b1;
    end else if (bits_left != '0) begin
      timer     <= LAST_CYCLE;
      bits_left <= bits_left - 1'b1;
      txd       <= shift[0];
    end else if (byte_valid) begin
      timer     <= LAST_CYCLE;
      bits_left <= 4'd9;
      txd       <= 1'b0;
    end
    if (rst) begin
      timer     <= '0;
      bits_left <= '0;
      txd       <= 1'b1;
    end
  end

  always_ff @(posedge clk) begin
    if (byte_valid && byte_ready) shift <= {1'b1, byte_data};
    else if (last_cycle) shift <= {1'b1, shift[8:1]};
  end
endmodule

`default_nettype wire
