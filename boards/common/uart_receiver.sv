// SPDX-License-Identifier: Apache-2.0
//
// Asynchronous serial receiver: 1 start bit, 8 data bits (lowest first), no parity, 1 stop bit.
//
//   Equation    byte_data = the 8 levels of rxd in the middle of its data bits, first bit in bit 0
//   Sampling    rxd passes two synchronising flip-flops. A falling edge counts as a start bit only if the line is
//               still low half a bit later; a shorter pulse is ignored. All further samples are CLOCKS_PER_BIT apart,
//               so that a sender whose bit time differs by a share e of a bit is sampled 9.5 * e bits off at the stop bit
//   Output      byte_valid is 1 for one cycle with byte_data; there is no way to hold the sender back.
//               A low stop bit gives framing_error for one cycle instead, and the next byte waits for a high line
//   Latency     byte_valid comes 3 cycles after the middle of the stop bit at the pin
//   Throughput  one byte in 10 bit times, back to back
//   Reset       gives up the byte under way
`default_nettype none

module uart_receiver #(
  parameter int unsigned CLOCKS_PER_BIT = 100  // clock cycles of a bit, at least 4
) (
  input  wire logic       clk,
  input  wire logic       rst,
  input  wire logic       rxd,
  output logic      [7:0] byte_data,
  output logic            byte_valid,
  output logic            framing_error
);
  if (CLOCKS_PER_BIT < 4) begin : g_check
    $fatal(1, "%m: CLOCKS_PER_BIT must be at least 4; got %0d", CLOCKS_PER_BIT);
  end

  localparam int unsigned TIMER_WIDTH = $clog2(CLOCKS_PER_BIT);
  typedef logic [TIMER_WIDTH-1:0] timer_t;

  typedef enum logic [1:0] {IDLE, START, DATA, RELEASE} state_t;

  logic [1:0] synchroniser;
  logic       line;
  state_t     state;
  timer_t     timer;      // cycles until the next sample
  logic [3:0] bit_index;  // 0..7 data, 8 stop

  assign line = synchroniser[1];

  always_ff @(posedge clk) begin
    synchroniser <= {synchroniser[0], rxd};
    // An idle line is high: without this, reset would look like a start bit.
    if (rst) synchroniser <= '1;
  end

  always_ff @(posedge clk) begin
    byte_valid    <= 1'b0;
    framing_error <= 1'b0;
    timer         <= timer - 1'b1;
    case (state)
      IDLE: begin
        timer     <= timer_t'(CLOCKS_PER_BIT / 2 - 1);
        bit_index <= '0;
        if (!line) state <= START;
      end
      START:
        if (timer == '0) begin
          timer <= timer_t'(CLOCKS_PER_BIT - 1);
          state <= line ? IDLE : DATA;
        end
      DATA:
        if (timer == '0) begin
          timer     <= timer_t'(CLOCKS_PER_BIT - 1);
          bit_index <= bit_index + 1'b1;
          if (bit_index == 4'd8) begin
            byte_valid    <= line;
            framing_error <= !line;
            state         <= line ? IDLE : RELEASE;
          end
        end
      RELEASE: if (line) state <= IDLE;
    endcase
    if (rst) begin
      state         <= IDLE;
      byte_valid    <= 1'b0;
      framing_error <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (state == DATA && timer == '0 && bit_index != 4'd8) byte_data <= {line, byte_data[7:1]};
  end
endmodule

`default_nettype wire
