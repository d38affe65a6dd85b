// SPDX-License-Identifier: Apache-2.0
//
// Nearest-neighbour upsampling: gives every pixel FACTOR_WIDTH times and every row FACTOR_HEIGHT times.
//
//   Equation    output beat k = input beat source(k). With CF = CHANNELS / PE beats a pixel,
//               source = f * HEIGHT * WIDTH * CF + (y * WIDTH + x) * CF + c
//   Order       k counts frame f, row y < HEIGHT, repetition of it r < FACTOR_HEIGHT, pixel x < WIDTH, repetition of it
//               s < FACTOR_WIDTH, channel beat c < CF; the last counts fastest. With r = FACTOR_HEIGHT - 1 and
//               s = FACTOR_WIDTH - 1 an output beat is final, the last of its source
//   Input       output beat k is read in the first cycle after output beat k-1 was read in which input beat source(k) was
//               accepted in an earlier cycle and fewer than 5 output beats read in earlier cycles are still to be taken.
//               An input beat is accepted in a cycle iff fewer than BUFFER_BEATS beats accepted in earlier cycles have a
//               final output beat that was not read in an earlier cycle
//   Latency     an output beat read in cycle t is offered from cycle t + 4, or from the cycle after the output beat
//               before it was taken if that is later; so 5 cycles after its acceptance at the earliest
//   Throughput  one output beat a cycle, with no bubble between pixels, rows or frames, for the default BUFFER_BEATS
//   Reset       the next beat accepted is beat 0 of a frame; beats under way are dropped; data is not reset
//
// Only what will be given again is kept: a row, or a pixel if FACTOR_HEIGHT = 1. With the default BUFFER_BEATS the next row
// (pixel) moves in while the last repetition of the one before moves out.
`default_nettype none

module upsample #(
  parameter int unsigned HEIGHT        = 8,  // rows of an input frame (1-D: 1)
  parameter int unsigned WIDTH         = 8,  // pixels of an input row
  parameter int unsigned CHANNELS      = 4,  // elements of a pixel
  parameter int unsigned PE            = 2,  // elements of a beat; divides CHANNELS
  parameter int unsigned ELEMENT_WIDTH = 8,  // bits of an element
  parameter int unsigned FACTOR_HEIGHT = 2,  // times that every row is given
  parameter int unsigned FACTOR_WIDTH  = 2,  // times that every pixel is given
  parameter int unsigned BUFFER_BEATS  =     // beats kept, at least a row (FACTOR_HEIGHT > 1) or a pixel
      ((FACTOR_HEIGHT > 1) ? WIDTH * (CHANNELS / PE) : (FACTOR_WIDTH > 1) ? CHANNELS / PE : 1) > 1 ?
      ((FACTOR_HEIGHT > 1) ? WIDTH * (CHANNELS / PE) : CHANNELS / PE) : 2,
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              MEMORY_STYLE  = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                        clk,
  input  wire logic                        rst,
  input  wire logic [PE*ELEMENT_WIDTH-1:0] s_axis_tdata,
  input  wire logic                        s_axis_tvalid,
  output logic                             s_axis_tready,
  output logic [PE*ELEMENT_WIDTH-1:0]      m_axis_tdata,
  output logic                             m_axis_tvalid,
  input  wire logic                        m_axis_tready
);
  if (PE < 1 || CHANNELS < 1 || CHANNELS % PE != 0 || ELEMENT_WIDTH < 1) begin : g_check_lanes
    $fatal(1, "%m: PE must divide CHANNELS and ELEMENT_WIDTH must be at least 1; got %0d, %0d and %0d",
           PE, CHANNELS, ELEMENT_WIDTH);
  end
  if (HEIGHT < 1 || WIDTH < 1 || FACTOR_HEIGHT < 1 || FACTOR_WIDTH < 1) begin : g_check_frame
    $fatal(1, "%m: HEIGHT, WIDTH, FACTOR_HEIGHT and FACTOR_WIDTH must be at least 1; got %0d, %0d, %0d and %0d",
           HEIGHT, WIDTH, FACTOR_HEIGHT, FACTOR_WIDTH);
  end

  localparam int unsigned CF    = CHANNELS / PE;
  localparam int unsigned ROW   = WIDTH * CF;
  localparam int unsigned LEAST = (FACTOR_HEIGHT > 1) ? ROW : (FACTOR_WIDTH > 1) ? CF : 1;
  if (BUFFER_BEATS < LEAST) begin : g_check_buffer
    $fatal(1, "%m: BUFFER_BEATS must be at least %0d, the beats that are given again; got %0d", LEAST, BUFFER_BEATS);
  end

  localparam int unsigned SLOTS         = 5;  // two cycles to the result queue and two through it
  localparam int unsigned ADDRESS_WIDTH = (BUFFER_BEATS > 1) ? $clog2(BUFFER_BEATS) : 1;
  localparam int unsigned COUNT_WIDTH   = $clog2(BUFFER_BEATS + 1);

  // ---- Where the reading is --------------------------------------------------------------------------------------------
  logic go;  // an output beat is read
  logic last_channel;
  logic last_copy;
  logic last_pixel;
  logic last_row_copy;
  logic first_copy;
  logic first_row_copy;
  /* verilator lint_off UNUSEDSIGNAL */  // where rows are not repeated, nobody may have to know
  logic pixel_end;
  /* verilator lint_on UNUSEDSIGNAL */

  assign pixel_end = last_channel && last_copy;
  wrap_counter #(
    .COUNT(CF)
  ) u_channel (
    .clk (clk),
    .rst (rst),
    .step(go),
    .last(last_channel)
  );
  wrap_counter #(
    .COUNT(FACTOR_WIDTH)
  ) u_copy (
    .clk (clk),
    .rst (rst),
    .step(go && last_channel),
    .last(last_copy)
  );
  if (FACTOR_HEIGHT > 1) begin : g_rows
    wrap_counter #(
      .COUNT(WIDTH)
    ) u_pixel (
      .clk (clk),
      .rst (rst),
      .step(go && pixel_end),
      .last(last_pixel)
    );
    wrap_counter #(
      .COUNT(FACTOR_HEIGHT)
    ) u_row_copy (
      .clk (clk),
      .rst (rst),
      .step(go && pixel_end && last_pixel),
      .last(last_row_copy)
    );
    always_ff @(posedge clk) begin
      if (go && pixel_end && last_pixel) first_row_copy <= last_row_copy;
      if (rst) first_row_copy <= 1'b1;
    end
  end else begin : g_no_rows
    assign last_pixel     = 1'b0;
    assign last_row_copy  = 1'b1;
    assign first_row_copy = 1'b1;
  end
  if (FACTOR_WIDTH > 1) begin : g_copies
    always_ff @(posedge clk) begin
      if (go && last_channel) first_copy <= last_copy;
      if (rst) first_copy <= 1'b1;
    end
  end else begin : g_no_copies
    assign first_copy = 1'b1;
  end

  // ---- When to read and when to accept --------------------------------------------------------------------------------
  // Only the first output beat of a source may have to wait for it, and only the last makes room.
  logic                   put;
  logic                   fresh;
  logic                   final_beat;
  logic                   use_new;   // a beat is read for the first time
  logic                   release_beat;
  logic                   available;
  logic [COUNT_WIDTH-1:0] unread;    // beats accepted and never read
  logic                   some_unread;
  logic [COUNT_WIDTH-1:0] kept;      // beats accepted whose final output beat was not read
  logic                   full;

  assign fresh         = first_copy && first_row_copy;
  assign final_beat    = last_copy && last_row_copy;
  assign s_axis_tready = !full;
  assign put           = s_axis_tvalid && !full;
  assign go            = available && (some_unread || !fresh);
  assign use_new       = go && fresh;
  assign release_beat  = go && final_beat;

  always_ff @(posedge clk) begin
    if (put && !use_new) begin
      unread      <= unread + 1'b1;
      some_unread <= 1'b1;
    end else if (use_new && !put) begin
      unread      <= unread - 1'b1;
      some_unread <= unread != COUNT_WIDTH'(1);
    end
    if (put && !release_beat) begin
      kept <= kept + 1'b1;
      full <= kept == COUNT_WIDTH'(BUFFER_BEATS - 1);
    end else if (release_beat && !put) begin
      kept <= kept - 1'b1;
      full <= 1'b0;
    end
    if (rst) begin
      unread      <= '0;
      some_unread <= 1'b0;
      kept        <= '0;
      full        <= 1'b0;
    end
  end

  // ---- Buffer -----------------------------------------------------------------------------------------------------------
  // A beat is read a cycle after its acceptance at the earliest, and overwritten a cycle after its final reading.
  (* no_rw_check, ram_style = MEMORY_STYLE *) logic [PE*ELEMENT_WIDTH-1:0] memory [BUFFER_BEATS];
  logic [ADDRESS_WIDTH-1:0] write_address;
  logic [ADDRESS_WIDTH-1:0] read_address;
  logic [ADDRESS_WIDTH-1:0] following;    // the address behind read_address
  logic [ADDRESS_WIDTH-1:0] row_start;
  logic [ADDRESS_WIDTH-1:0] pixel_start;
  logic [ADDRESS_WIDTH-1:0] next_pixel;   // behind the last copy of a pixel
  logic [ADDRESS_WIDTH-1:0] next_address;

  assign following    = (read_address == ADDRESS_WIDTH'(BUFFER_BEATS - 1)) ? '0 : read_address + 1'b1;
  assign next_pixel   = (last_pixel && !last_row_copy) ? row_start : following;
  assign next_address = !last_channel ? following : !last_copy ? pixel_start : next_pixel;

  always_ff @(posedge clk) begin
    if (put) begin
      write_address <= (write_address == ADDRESS_WIDTH'(BUFFER_BEATS - 1)) ? '0 : write_address + 1'b1;
    end
    if (go) read_address <= next_address;
    if (rst) begin
      write_address <= '0;
      read_address  <= '0;
    end
  end

  // Starts to go back to, where they are not always the same address.
  if (FACTOR_HEIGHT > 1 && BUFFER_BEATS != ROW) begin : g_row_start
    always_ff @(posedge clk) begin
      if (go && pixel_end && last_pixel && last_row_copy) row_start <= following;
      if (rst) row_start <= '0;
    end
  end else begin : g_row_fixed
    assign row_start = '0;
  end
  if (FACTOR_WIDTH > 1 && CF == 1) begin : g_pixel_stays
    assign pixel_start = read_address;
  end else if (FACTOR_WIDTH > 1 && BUFFER_BEATS != CF) begin : g_pixel_start
    always_ff @(posedge clk) begin
      if (go && pixel_end) pixel_start <= next_pixel;
      if (rst) pixel_start <= '0;
    end
  end else begin : g_pixel_fixed
    assign pixel_start = '0;
  end

  // A block RAM's own output is late: a register behind it.
  logic [PE*ELEMENT_WIDTH-1:0] word;
  logic [PE*ELEMENT_WIDTH-1:0] data;
  logic [2:1]                  active;  // bit k: a beat was read k cycles ago
  always_ff @(posedge clk) begin
    if (put) memory[write_address] <= s_axis_tdata;
    word <= memory[read_address];
    data <= word;
  end
  always_ff @(posedge clk) begin
    active <= {active[1], go};
    if (rst) active <= '0;
  end

  result_queue #(
    .DATA_WIDTH(PE * ELEMENT_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (go),
    .available    (available),
    .result_valid (active[2]),
    .result_data  (data),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
