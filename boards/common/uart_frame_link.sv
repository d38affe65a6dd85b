// SPDX-License-Identifier: Apache-2.0
//
// Host protocol of a streaming core: one request frame in, one inference at full stream speed, one answer frame out.
//
//   Request     0xA5, input beats in order (INPUT_BYTES bytes each, lowest first), CRC high byte, CRC low byte;
//               the CRC covers the beats
//   Answer      0x5A, status, DESIGN_ID (4 bytes, lowest first); with status 0 also the latency in cycles (4 bytes,
//               lowest first) and the result beats (OUTPUT_BYTES bytes each, lowest first); then CRC high byte, CRC low
//               byte over everything after the 0x5A
//   CRC         see crc16_step, started at 0xFFFF
//   Status      0 done, 1 wrong CRC, 2 serial framing error inside the frame, 3 the frame stopped before its end,
//               4 the core gave no result in time, 5 the result had another length than OUTPUT_BEATS
//   Recovery    Nothing reaches the core before the CRC is right. A frame with a framing error or a missing byte is
//               answered when the line has been silent for IDLE_TIMEOUT_CYCLES; then the link waits for a start byte again.
//               Bytes before a start byte, and bytes that come before the answer has been sent, are ignored. After
//               status 4 and 5 the core is reset
//   Latency     of the inference as measured here: clock edges from the one that gives the core its first input beat to
//               the one that takes the core's last result beat; input beats are offered in every cycle from the first
//               on, and the result is never held back, so a core with no stall of its own shows its declared latency
//   Throughput  one frame at a time
//   Reset       gives up the frame under way
`default_nettype none

module uart_frame_link #(
  parameter int unsigned INPUT_BEATS         = 1,              // beats of an input frame
  parameter int unsigned INPUT_BYTES         = 1,              // bytes of an input beat
  parameter int unsigned OUTPUT_BEATS        = 1,              // beats of a result frame
  parameter int unsigned OUTPUT_BYTES        = 1,              // bytes of a result beat
  parameter int unsigned DESIGN_ID           = 32'h0000_0000,  // tells the host which design this is
  parameter int unsigned IDLE_TIMEOUT_CYCLES = 1000,           // silence inside a request that ends it
  parameter int unsigned RUN_TIMEOUT_CYCLES  = 100000          // wait for the core's result
) (
  input  wire logic                      clk,
  input  wire logic                      rst,
  // Serial side
  input  wire logic [7:0]                rx_data,
  input  wire logic                      rx_valid,
  input  wire logic                      rx_framing_error,
  output logic      [7:0]                tx_data,
  output logic                           tx_valid,
  input  wire logic                      tx_ready,
  // Core side
  output logic                           core_rst,
  output logic      [8*INPUT_BYTES-1:0]  m_axis_tdata,
  output logic                           m_axis_tvalid,
  input  wire logic                      m_axis_tready,
  input  wire logic [8*OUTPUT_BYTES-1:0] s_axis_tdata,
  input  wire logic                      s_axis_tvalid,
  output logic                           s_axis_tready,
  input  wire logic                      s_axis_tlast,
  // For lights
  output logic                           busy,
  output logic                           failed            // the last request was answered with a status other than 0
);
  if (INPUT_BEATS < 1 || INPUT_BYTES < 1 || OUTPUT_BEATS < 1 || OUTPUT_BYTES < 1) begin : g_check_size
    $fatal(1, "%m: beats and bytes must be at least 1; got %0d, %0d, %0d, %0d", INPUT_BEATS, INPUT_BYTES, OUTPUT_BEATS,
           OUTPUT_BYTES);
  end
  if (IDLE_TIMEOUT_CYCLES < 2 || RUN_TIMEOUT_CYCLES < 2) begin : g_check_timeout
    $fatal(1, "%m: timeouts must be at least 2 cycles; got %0d and %0d", IDLE_TIMEOUT_CYCLES, RUN_TIMEOUT_CYCLES);
  end

  localparam logic [7:0] REQUEST_START = 8'hA5;
  localparam logic [7:0] ANSWER_START  = 8'h5A;

  localparam logic [2:0] STATUS_DONE       = 3'd0;
  localparam logic [2:0] STATUS_CRC        = 3'd1;
  localparam logic [2:0] STATUS_FRAMING    = 3'd2;
  localparam logic [2:0] STATUS_INCOMPLETE = 3'd3;
  localparam logic [2:0] STATUS_NO_RESULT  = 3'd4;
  localparam logic [2:0] STATUS_LENGTH     = 3'd5;

  localparam int unsigned INPUT_WIDTH    = 8 * INPUT_BYTES;
  localparam int unsigned OUTPUT_WIDTH   = 8 * OUTPUT_BYTES;
  localparam int unsigned MAX_BEATS      = INPUT_BEATS > OUTPUT_BEATS ? INPUT_BEATS : OUTPUT_BEATS;
  localparam int unsigned MAX_BYTES      = INPUT_BYTES > OUTPUT_BYTES ? INPUT_BYTES : OUTPUT_BYTES;
  localparam int unsigned BEAT_WIDTH     = $clog2(MAX_BEATS + 1);
  localparam int unsigned BYTE_WIDTH     = $clog2(MAX_BYTES + 10);  // also counts the 10 bytes of an answer's head
  localparam int unsigned INPUT_ADDRESS  = INPUT_BEATS > 1 ? $clog2(INPUT_BEATS) : 1;
  localparam int unsigned OUTPUT_ADDRESS = OUTPUT_BEATS > 1 ? $clog2(OUTPUT_BEATS) : 1;
  localparam int unsigned MAX_TIMEOUT    =
    IDLE_TIMEOUT_CYCLES > RUN_TIMEOUT_CYCLES ? IDLE_TIMEOUT_CYCLES : RUN_TIMEOUT_CYCLES;
  localparam int unsigned TIMER_WIDTH    = 1 + $clog2(MAX_TIMEOUT);

  typedef logic [BEAT_WIDTH-1:0]  beat_t;
  typedef logic [BYTE_WIDTH-1:0]  byte_t;
  typedef logic [TIMER_WIDTH-1:0] timer_t;

  typedef enum logic [3:0] {
    HUNT,     // wait for a start byte
    PAYLOAD,  // collect the input beats
    CHECK,    // the two CRC bytes
    SILENCE,  // a framing error was seen: wait for the line to fall silent
    VERDICT,  // compare the CRC
    RUN,      // the core works
    HEAD,     // start byte, status, identity, latency
    FETCH,    // read a result beat from its memory
    BODY,     // its bytes
    TAIL      // CRC
  } state_t;

  state_t      state;
  beat_t       beat;       // beat of the frame that is received or sent
  byte_t       position;   // byte of the beat, head or CRC
  timer_t      timer;      // cycles left before the wait is given up, two's complement: below zero the wait is over
  logic [2:0]  status;
  logic [15:0] crc;
  logic [15:0] crc_next;
  logic [7:0]  crc_byte;
  logic [31:0] latency_cycles;

  // ------------------------------------------------------------------------------------------------ receive
  logic [INPUT_WIDTH-1:0] input_beat;  // the last INPUT_BYTES bytes, the newest on top
  logic [INPUT_WIDTH-1:0] input_beat_next;
  logic [INPUT_WIDTH-1:0] input_memory [INPUT_BEATS];
  logic                   input_beat_done;

  assign input_beat_next = INPUT_WIDTH'({rx_data, input_beat} >> 8);
  assign input_beat_done = state == PAYLOAD && rx_valid && position == byte_t'(INPUT_BYTES - 1);

  always_ff @(posedge clk) begin
    if (rx_valid) input_beat <= input_beat_next;
    if (input_beat_done) input_memory[beat[INPUT_ADDRESS-1:0]] <= input_beat_next;
  end

  // ------------------------------------------------------------------------------------------------ to the core
  // Memory, its read register, output register: the long way out of a block RAM stays away from the core's logic.
  logic                   running;
  logic [INPUT_WIDTH-1:0] read_data;
  logic                   read_valid;
  beat_t                  read_beat;
  logic                   read_advance;
  logic                   output_advance;

  assign running        = state == RUN;
  assign output_advance = !m_axis_tvalid || m_axis_tready;
  assign read_advance   = !read_valid || output_advance;

  always_ff @(posedge clk) begin
    if (read_advance) begin
      read_valid <= read_beat != beat_t'(INPUT_BEATS);
      if (read_beat != beat_t'(INPUT_BEATS)) read_beat <= read_beat + 1'b1;
    end
    if (output_advance) m_axis_tvalid <= read_valid;
    if (!running) begin
      read_beat     <= '0;
      read_valid    <= 1'b0;
      m_axis_tvalid <= 1'b0;
    end
  end

  always_ff @(posedge clk) begin
    if (read_advance) read_data <= input_memory[read_beat[INPUT_ADDRESS-1:0]];
    if (output_advance) m_axis_tdata <= read_data;
  end

  // ------------------------------------------------------------------------------------------------ from the core
  logic [OUTPUT_WIDTH-1:0] result_memory [OUTPUT_BEATS];
  logic [OUTPUT_WIDTH-1:0] result_beat;
  logic                    result_taken;
  logic                    result_complete;  // as many beats as declared, with this one
  logic                    started;

  assign s_axis_tready   = running;
  assign result_taken    = running && s_axis_tvalid;
  assign result_complete = beat == beat_t'(OUTPUT_BEATS - 1);

  always_ff @(posedge clk) begin
    if (result_taken) result_memory[beat[OUTPUT_ADDRESS-1:0]] <= s_axis_tdata;
    if (state == FETCH) result_beat <= result_memory[beat[OUTPUT_ADDRESS-1:0]];
    else if (state == BODY && tx_ready) result_beat <= result_beat >> 8;
  end

  always_ff @(posedge clk) begin
    if (!running && state != HEAD) begin
      started        <= 1'b0;
      latency_cycles <= '0;
    end else if (running) begin
      if (m_axis_tvalid && m_axis_tready) started <= 1'b1;
      if (started) latency_cycles <= latency_cycles + 1'b1;
    end
  end

  // ------------------------------------------------------------------------------------------------ send
  always_comb begin
    tx_data = result_beat[7:0];
    if (state == TAIL) begin
      tx_data = position == '0 ? crc[15:8] : crc[7:0];
    end else if (state == HEAD) begin
      case (position)
        byte_t'(0): tx_data = ANSWER_START;
        byte_t'(1): tx_data = {5'd0, status};
        byte_t'(2): tx_data = DESIGN_ID[7:0];
        byte_t'(3): tx_data = DESIGN_ID[15:8];
        byte_t'(4): tx_data = DESIGN_ID[23:16];
        byte_t'(5): tx_data = DESIGN_ID[31:24];
        byte_t'(6): tx_data = latency_cycles[7:0];
        byte_t'(7): tx_data = latency_cycles[15:8];
        byte_t'(8): tx_data = latency_cycles[23:16];
        default:    tx_data = latency_cycles[31:24];
      endcase
    end
  end

  assign tx_valid = state == HEAD || state == BODY || state == TAIL;
  assign crc_byte = tx_valid ? tx_data : rx_data;
  assign busy     = state != HUNT;

  crc16_step u_crc16_step (
    .crc      (crc),
    .byte_data(crc_byte),
    .next     (crc_next)
  );

  // ------------------------------------------------------------------------------------------------ control
  logic expired;
  logic silence_expired;

  assign expired         = timer[TIMER_WIDTH-1];
  assign silence_expired = expired && !rx_valid && !rx_framing_error;

  always_ff @(posedge clk) begin
    if (!expired) timer <= timer - 1'b1;
    core_rst <= 1'b0;
    case (state)
      HUNT: begin
        beat     <= '0;
        position <= '0;
        crc      <= 16'hFFFF;
        status   <= STATUS_DONE;
        timer    <= timer_t'(IDLE_TIMEOUT_CYCLES - 2);
        if (rx_valid && rx_data == REQUEST_START) state <= PAYLOAD;
      end

      PAYLOAD, CHECK: begin
        if (rx_valid) begin
          timer    <= timer_t'(IDLE_TIMEOUT_CYCLES - 2);
          crc      <= crc_next;
          position <= position + 1'b1;
          if (input_beat_done) begin
            position <= '0;
            beat     <= beat + 1'b1;
            if (beat == beat_t'(INPUT_BEATS - 1)) state <= CHECK;
          end
          if (state == CHECK && position == byte_t'(1)) state <= VERDICT;
        end
        if (rx_framing_error) begin
          timer  <= timer_t'(IDLE_TIMEOUT_CYCLES - 2);
          status <= STATUS_FRAMING;
          state  <= SILENCE;
        end else if (silence_expired) begin
          position <= '0;
          crc      <= 16'hFFFF;
          status   <= STATUS_INCOMPLETE;
          state    <= HEAD;
        end
      end

      SILENCE: begin
        position <= '0;
        crc      <= 16'hFFFF;
        if (rx_valid || rx_framing_error) timer <= timer_t'(IDLE_TIMEOUT_CYCLES - 2);
        else if (expired) state <= HEAD;
      end

      VERDICT: begin
        // Behind its own CRC, highest byte first, the CRC of a frame is zero.
        beat     <= '0;
        position <= '0;
        crc      <= 16'hFFFF;
        timer    <= timer_t'(RUN_TIMEOUT_CYCLES - 2);
        state    <= RUN;
        if (crc != '0) begin
          status <= STATUS_CRC;
          state  <= HEAD;
        end
      end

      RUN: begin
        if (result_taken) begin
          beat <= beat + 1'b1;
          if (result_complete || s_axis_tlast) begin
            beat  <= '0;
            state <= HEAD;
            if (!(result_complete && s_axis_tlast)) begin
              status   <= STATUS_LENGTH;
              core_rst <= 1'b1;
            end
          end
        end else if (expired) begin
          status   <= STATUS_NO_RESULT;
          state    <= HEAD;
          core_rst <= 1'b1;
        end
      end

      HEAD:
        if (tx_ready) begin
          position <= position + 1'b1;
          if (position != '0) crc <= crc_next;
          if (position == byte_t'(5) && status != STATUS_DONE) begin
            position <= '0;
            state    <= TAIL;
          end else if (position == byte_t'(9)) begin
            position <= '0;
            state    <= FETCH;
          end
        end

      FETCH: begin
        position <= '0;
        state    <= BODY;
      end

      BODY:
        if (tx_ready) begin
          position <= position + 1'b1;
          crc      <= crc_next;
          if (position == byte_t'(OUTPUT_BYTES - 1)) begin
            position <= '0;
            beat     <= beat + 1'b1;
            state    <= beat == beat_t'(OUTPUT_BEATS - 1) ? TAIL : FETCH;
          end
        end

      TAIL:
        if (tx_ready) begin
          position <= position + 1'b1;
          failed   <= status != STATUS_DONE;
          if (position == byte_t'(1)) state <= HUNT;
        end

      default: state <= HUNT;
    endcase
    if (rst) begin
      state    <= HUNT;
      core_rst <= 1'b1;
      failed   <= 1'b0;
    end
  end
endmodule

`default_nettype wire
