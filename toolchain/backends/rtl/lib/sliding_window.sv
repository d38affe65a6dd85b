// SPDX-License-Identifier: Apache-2.0
//
// Windows of an image: gives, for every position of a kernel on a frame, the beats under the kernel.
//
//   Equation    output beat k = input beat source(k). With CF = CHANNELS / SIMD beats a pixel, a frame is
//               FRAME = HEIGHT * WIDTH * CF input beats: row by row, pixel by pixel, channels last; and
//                 OH = floor((HEIGHT - (KERNEL_HEIGHT - 1) * DILATION_HEIGHT - 1) / STRIDE_HEIGHT) + 1,  OW likewise,
//                 first(f, y, x) = f * FRAME + (y * STRIDE_HEIGHT * WIDTH + x * STRIDE_WIDTH) * CF,
//                 source = first(f, y, x) + (r * DILATION_HEIGHT * WIDTH + s * DILATION_WIDTH) * CF + c
//   Order       k counts frame f, row y < OH, column x < OW, tap row r < KERNEL_HEIGHT, tap column s < KERNEL_WIDTH,
//               channel beat c < CF; the last counts fastest. (y, x) of one frame is a window of
//               K = KERNEL_HEIGHT * KERNEL_WIDTH * CF output beats
//   Input       output beat k is read in the first cycle after output beat k-1 was read in which input beat source(k) was
//               accepted in an earlier cycle and fewer than 5 output beats read in earlier cycles are still to be taken.
//               Input beat n is accepted in a cycle iff n < BUFFER_BEATS + first(w), w being the window of the first
//               output beat not read in earlier cycles
//   Latency     an output beat read in cycle t is offered from cycle t + 4, or from the cycle after the output beat
//               before it was taken if that is later; so 5 cycles after its acceptance at the earliest
//   Throughput  one input beat and one output beat a cycle. A frame every max(FRAME, OH * OW * K) cycles if BUFFER_BEATS
//               is large enough for that, without a bubble between lines or frames; the smallest number that is depends on
//               all sizes (sliding_window_beats in the toolchain computes it), and a smaller one makes output beats wait
//               for lines or for the next frame
//   Reset       the next beat accepted is beat 0 of a frame; windows under way are dropped; data is not reset
//
// BUFFER_BEATS beats are kept, the newest over the oldest. A window's beats are given up together, when its last one is
// read, and those before the next window's first with them: so the least that works is the beats from the first to the
// last of a window, ((KERNEL_HEIGHT - 1) * DILATION_HEIGHT * WIDTH + (KERNEL_WIDTH - 1) * DILATION_WIDTH + 1) * CF. Pixels
// under no window (strides above the kernel's size, the rest of a line or frame) only pass: no room is kept for them.
`default_nettype none

module sliding_window #(
  parameter int unsigned HEIGHT          = 8,  // rows of a frame (1-D: 1)
  parameter int unsigned WIDTH           = 8,  // pixels of a row
  parameter int unsigned CHANNELS        = 4,  // elements of a pixel
  parameter int unsigned SIMD            = 2,  // elements of a beat; divides CHANNELS
  parameter int unsigned ELEMENT_WIDTH   = 8,  // bits of an element
  parameter int unsigned KERNEL_HEIGHT   = 3,  // rows of the kernel (1-D: 1)
  parameter int unsigned KERNEL_WIDTH    = 3,  // columns of the kernel
  parameter int unsigned STRIDE_HEIGHT   = 1,  // rows from a window to the one below
  parameter int unsigned STRIDE_WIDTH    = 1,  // columns from a window to the next
  parameter int unsigned DILATION_HEIGHT = 1,  // rows from a row of the kernel to the next
  parameter int unsigned DILATION_WIDTH  = 1,  // columns from a column of the kernel to the next
  parameter int unsigned BUFFER_BEATS    =     // beats kept, at least this default
      ((KERNEL_HEIGHT - 1) * DILATION_HEIGHT * WIDTH + (KERNEL_WIDTH - 1) * DILATION_WIDTH + 1) * (CHANNELS / SIMD),
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              MEMORY_STYLE    = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                          clk,
  input  wire logic                          rst,
  input  wire logic [SIMD*ELEMENT_WIDTH-1:0] s_axis_tdata,
  input  wire logic                          s_axis_tvalid,
  output logic                               s_axis_tready,
  output logic [SIMD*ELEMENT_WIDTH-1:0]      m_axis_tdata,
  output logic                               m_axis_tvalid,
  input  wire logic                          m_axis_tready
);
  if (SIMD < 1 || CHANNELS < 1 || CHANNELS % SIMD != 0 || ELEMENT_WIDTH < 1) begin : g_check_lanes
    $fatal(1, "%m: SIMD must divide CHANNELS and ELEMENT_WIDTH must be at least 1; got %0d, %0d and %0d",
           SIMD, CHANNELS, ELEMENT_WIDTH);
  end
  if (KERNEL_HEIGHT < 1 || KERNEL_WIDTH < 1 || STRIDE_HEIGHT < 1 || STRIDE_WIDTH < 1 || DILATION_HEIGHT < 1 ||
      DILATION_WIDTH < 1) begin : g_check_kernel
    $fatal(1, "%m: kernel, stride and dilation must be at least 1; got %0d x %0d, %0d x %0d and %0d x %0d",
           KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE_HEIGHT, STRIDE_WIDTH, DILATION_HEIGHT, DILATION_WIDTH);
  end

  localparam int unsigned CF          = CHANNELS / SIMD;
  localparam int unsigned ROWS_OVER   = (KERNEL_HEIGHT - 1) * DILATION_HEIGHT;  // from a window's first row to its last
  localparam int unsigned PIXELS_OVER = (KERNEL_WIDTH - 1) * DILATION_WIDTH;    // the same for columns
  localparam int unsigned SPAN        = (ROWS_OVER * WIDTH + PIXELS_OVER + 1) * CF;
  if (ROWS_OVER >= HEIGHT || PIXELS_OVER >= WIDTH) begin : g_check_frame
    $fatal(1, "%m: the kernel covers %0d x %0d pixels, the frame has %0d x %0d", ROWS_OVER + 1, PIXELS_OVER + 1,
           HEIGHT, WIDTH);
  end
  if (BUFFER_BEATS < SPAN) begin : g_check_buffer
    $fatal(1, "%m: BUFFER_BEATS must be at least %0d, the beats from the first to the last of a window; got %0d",
           SPAN, BUFFER_BEATS);
  end

  localparam int unsigned OH       = (HEIGHT - ROWS_OVER - 1) / STRIDE_HEIGHT + 1;
  localparam int unsigned OW       = (WIDTH - PIXELS_OVER - 1) / STRIDE_WIDTH + 1;
  localparam int unsigned FRAME    = HEIGHT * WIDTH * CF;
  localparam int unsigned SLOTS    = 5;  // two cycles to the result queue and two through it

  // Input beats from the first of a window to the first of the next: in a line, to the next line, to the next frame.
  localparam int unsigned TO_WINDOW = STRIDE_WIDTH * CF;
  localparam int unsigned TO_LINE   = (STRIDE_HEIGHT * WIDTH - (OW - 1) * STRIDE_WIDTH) * CF;
  localparam int unsigned TO_FRAME  = FRAME - ((OH - 1) * STRIDE_HEIGHT * WIDTH + (OW - 1) * STRIDE_WIDTH) * CF;
  // Input beats from the last of a pixel under the kernel to the first of the next: in a row, to the next row.
  localparam int unsigned TO_TAP    = (DILATION_WIDTH - 1) * CF + 1;
  localparam int unsigned TO_ROW    = (DILATION_HEIGHT * WIDTH - PIXELS_OVER - 1) * CF + 1;

  // Distances between beats are held in two's complement, and no distance reaches BUFFER_BEATS + FRAME + 1.
  localparam int unsigned DISTANCE_WIDTH = $clog2(BUFFER_BEATS + FRAME + 2) + 1;
  localparam int unsigned ADDRESS_WIDTH  = (BUFFER_BEATS > 1) ? $clog2(BUFFER_BEATS) : 1;

  // ---- Where the reading goes next: known a beat ahead ----------------------------------------------------------------
  logic go;      // an output beat is read
  logic primed;  // the registers below are set: from the second cycle behind a reset, when the first beat can be read
  logic advance;
  logic last_channel;
  logic last_tap;
  logic last_row;
  logic last_column;
  logic last_line;
  logic window_end;

  assign advance    = go || !primed;
  assign window_end = last_channel && last_tap && last_row;
  wrap_counter #(
    .COUNT(CF)
  ) u_channel (
    .clk (clk),
    .rst (rst),
    .step(advance),
    .last(last_channel)
  );
  wrap_counter #(
    .COUNT(KERNEL_WIDTH)
  ) u_tap (
    .clk (clk),
    .rst (rst),
    .step(advance && last_channel),
    .last(last_tap)
  );
  wrap_counter #(
    .COUNT(KERNEL_HEIGHT)
  ) u_row (
    .clk (clk),
    .rst (rst),
    .step(advance && last_channel && last_tap),
    .last(last_row)
  );
  wrap_counter #(
    .COUNT(OW)
  ) u_column (
    .clk (clk),
    .rst (rst),
    .step(advance && window_end),
    .last(last_column)
  );
  wrap_counter #(
    .COUNT(OH)
  ) u_line (
    .clk (clk),
    .rst (rst),
    .step(advance && window_end && last_column),
    .last(last_line)
  );

  // The distance to the source of the next output beat; behind the last beat of a window it may be negative.
  logic [DISTANCE_WIDTH-1:0] distance;
  logic [DISTANCE_WIDTH-1:0] windows_distance;
  assign windows_distance = !last_column ? DISTANCE_WIDTH'(TO_WINDOW) :
                            !last_line   ? DISTANCE_WIDTH'(TO_LINE)   : DISTANCE_WIDTH'(TO_FRAME);
  always_comb begin
    if (!last_channel) distance = DISTANCE_WIDTH'(1);
    else if (!last_tap) distance = DISTANCE_WIDTH'(TO_TAP);
    else if (!last_row) distance = DISTANCE_WIDTH'(TO_ROW);
    else distance = windows_distance - DISTANCE_WIDTH'(SPAN - 1);
  end

  // The same modulo BUFFER_BEATS, for the address; less BUFFER_BEATS, it says whether the address wraps.
  localparam int unsigned TURN_TAP    = TO_TAP % BUFFER_BEATS;
  localparam int unsigned TURN_ROW    = TO_ROW % BUFFER_BEATS;
  localparam int unsigned TURN_WINDOW = (TO_WINDOW + BUFFER_BEATS - (SPAN - 1)) % BUFFER_BEATS;
  localparam int unsigned TURN_LINE   = (TO_LINE + BUFFER_BEATS - (SPAN - 1)) % BUFFER_BEATS;
  localparam int unsigned TURN_FRAME  = (TO_FRAME + BUFFER_BEATS - (SPAN - 1)) % BUFFER_BEATS;
  logic [ADDRESS_WIDTH-1:0] turn;
  always_comb begin
    if (!last_channel) turn = ADDRESS_WIDTH'(1 % BUFFER_BEATS);
    else if (!last_tap) turn = ADDRESS_WIDTH'(TURN_TAP);
    else if (!last_row) turn = ADDRESS_WIDTH'(TURN_ROW);
    else if (!last_column) turn = ADDRESS_WIDTH'(TURN_WINDOW);
    else if (!last_line) turn = ADDRESS_WIDTH'(TURN_LINE);
    else turn = ADDRESS_WIDTH'(TURN_FRAME);
  end

  logic [DISTANCE_WIDTH-1:0] next_distance;
  logic [DISTANCE_WIDTH-1:0] next_distance_less;  // by one
  logic [DISTANCE_WIDTH-1:0] next_release;
  logic [DISTANCE_WIDTH-1:0] next_release_less;
  logic [ADDRESS_WIDTH-1:0]  next_turn;
  logic [ADDRESS_WIDTH:0]    next_turn_back;
  logic                      next_window;
  always_ff @(posedge clk) begin
    if (advance) begin
      next_distance      <= distance;
      next_distance_less <= distance - 1'b1;
      next_release       <= windows_distance;
      next_release_less  <= windows_distance - 1'b1;
      next_turn          <= turn;
      next_turn_back     <= {1'b0, turn} - (ADDRESS_WIDTH+1)'(BUFFER_BEATS);
      next_window        <= window_end;
    end
    primed <= !rst;
  end

  // ---- When to read and when to accept --------------------------------------------------------------------------------
  // ahead: beats accepted from the next source on, less one. room: beats that may still be accepted, less one. Both are
  // two's complement, so that a sign bit answers. Every sum starts from registers, and the handshake only chooses one.
  logic [DISTANCE_WIDTH-1:0] ahead;
  logic [DISTANCE_WIDTH-1:0] room;
  logic [DISTANCE_WIDTH-1:0] ahead_put;
  logic [DISTANCE_WIDTH-1:0] ahead_go;
  logic [DISTANCE_WIDTH-1:0] ahead_both;
  logic [DISTANCE_WIDTH-1:0] room_put;
  logic [DISTANCE_WIDTH-1:0] room_end;
  logic [DISTANCE_WIDTH-1:0] room_both;
  logic                      put;
  logic                      available;

  assign s_axis_tready = !room[DISTANCE_WIDTH-1];
  assign put           = s_axis_tvalid && s_axis_tready;
  assign go            = primed && !ahead[DISTANCE_WIDTH-1] && available;
  assign ahead_put     = ahead + 1'b1;
  assign ahead_go      = ahead - next_distance;
  assign ahead_both    = ahead - next_distance_less;
  assign room_put      = room - 1'b1;
  assign room_end      = room + next_release;
  assign room_both     = room + next_release_less;

  always_ff @(posedge clk) begin
    if (go) ahead <= put ? ahead_both : ahead_go;
    else if (put) ahead <= ahead_put;
    if (go && next_window) room <= put ? room_both : room_end;
    else if (put) room <= room_put;
    if (rst) begin
      ahead <= '1;
      room  <= DISTANCE_WIDTH'(BUFFER_BEATS - 1);
    end
  end

  // ---- Buffer -----------------------------------------------------------------------------------------------------------
  // A beat is read a cycle after its acceptance at the earliest, and overwritten a cycle after its window's end.
  (* no_rw_check, ram_style = MEMORY_STYLE *) logic [SIMD*ELEMENT_WIDTH-1:0] memory [BUFFER_BEATS];
  logic [ADDRESS_WIDTH-1:0] write_address;
  logic [ADDRESS_WIDTH-1:0] read_address;
  logic [ADDRESS_WIDTH-1:0] moved;
  logic [ADDRESS_WIDTH:0]   moved_back;

  assign moved      = read_address + next_turn;
  assign moved_back = {1'b0, read_address} + next_turn_back;
  always_ff @(posedge clk) begin
    if (put) begin
      write_address <= (write_address == ADDRESS_WIDTH'(BUFFER_BEATS - 1)) ? '0 : write_address + 1'b1;
    end
    if (go) begin
      read_address <= moved_back[ADDRESS_WIDTH] ? moved : moved_back[ADDRESS_WIDTH-1:0];
    end
    if (rst) begin
      write_address <= '0;
      read_address  <= '0;
    end
  end

  // A block RAM's own output is late: a register behind it.
  logic [SIMD*ELEMENT_WIDTH-1:0] word;
  logic [SIMD*ELEMENT_WIDTH-1:0] data;
  logic [2:1]                    active;  // bit k: a beat was read k cycles ago
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
    .DATA_WIDTH(SIMD * ELEMENT_WIDTH),
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
