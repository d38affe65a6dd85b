// SPDX-License-Identifier: Apache-2.0
//
// Windows of an image, each whole in one beat: for kernels that are worked through in fewer cycles than they have pixels.
//
//   Equation    output beat w = the pixels under the kernel at position w of the frame, side by side: pixel row
//               y * STRIDE_HEIGHT + r * DILATION_HEIGHT, column x * STRIDE_WIDTH + s * DILATION_WIDTH at element
//               (r * KERNEL_WIDTH + s) * CHANNELS
//   Order       an input beat is a pixel, a frame HEIGHT * WIDTH of them, row by row; w counts the positions (y, x) row by row,
//                 y < OH = floor((HEIGHT - (KERNEL_HEIGHT - 1) * DILATION_HEIGHT - 1) / STRIDE_HEIGHT) + 1, x < OW likewise
//   Input       step n takes input beat n. It is done in the first cycle after step n-1 in which the beat is offered and, if it
//               is the last pixel of a window, fewer than SLOTS windows whose last pixel came in earlier cycles are still to be
//               taken. s_axis_tready is high exactly in the cycles in which the next step does not wait for a slot
//   Latency     a window is offered 4 cycles after the step of its last pixel, 5 for SLOTS > 2; or in the cycle after the
//               window before it was taken if that is later
//   Throughput  one input beat a cycle, if windows are taken as fast as they come: SLOTS >= floor(L / I) + 1 never holds
//               the input back, L being the latency and I the cycles from a window to the next
//   Reset       the next beat accepted is beat 0 of a frame; windows under way are dropped; data is not reset
`default_nettype none

module parallel_window #(
  parameter int unsigned HEIGHT          = 8,  // rows of a frame (1-D: 1)
  parameter int unsigned WIDTH           = 8,  // pixels of a row
  parameter int unsigned CHANNELS        = 1,  // elements of a pixel
  parameter int unsigned ELEMENT_WIDTH   = 8,  // bits of an element
  parameter int unsigned KERNEL_HEIGHT   = 3,  // rows of the kernel (1-D: 1)
  parameter int unsigned KERNEL_WIDTH    = 3,  // columns of the kernel
  parameter int unsigned STRIDE_HEIGHT   = 1,  // rows from a window to the one below
  parameter int unsigned STRIDE_WIDTH    = 1,  // columns from a window to the next
  parameter int unsigned DILATION_HEIGHT = 1,  // rows from a row of the kernel to the next
  parameter int unsigned DILATION_WIDTH  = 1,  // columns from a column of the kernel to the next
  parameter int unsigned SLOTS           = 6,  // windows that may be under way or waiting
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              MEMORY_STYLE    = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                                                           clk,
  input  wire logic                                                           rst,
  input  wire logic [CHANNELS*ELEMENT_WIDTH-1:0]                              s_axis_tdata,
  input  wire logic                                                           s_axis_tvalid,
  output logic                                                                s_axis_tready,
  output logic [KERNEL_HEIGHT*KERNEL_WIDTH*CHANNELS*ELEMENT_WIDTH-1:0]        m_axis_tdata,
  output logic                                                                m_axis_tvalid,
  input  wire logic                                                           m_axis_tready
);
  if (CHANNELS < 1 || ELEMENT_WIDTH < 1 || SLOTS < 1) begin : g_check_lanes
    $fatal(1, "%m: CHANNELS, ELEMENT_WIDTH and SLOTS must be at least 1; got %0d, %0d and %0d",
           CHANNELS, ELEMENT_WIDTH, SLOTS);
  end
  if (KERNEL_HEIGHT < 1 || KERNEL_WIDTH < 1 || STRIDE_HEIGHT < 1 || STRIDE_WIDTH < 1 || DILATION_HEIGHT < 1 ||
      DILATION_WIDTH < 1) begin : g_check_kernel
    $fatal(1, "%m: kernel, stride and dilation must be at least 1; got %0d x %0d, %0d x %0d and %0d x %0d",
           KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE_HEIGHT, STRIDE_WIDTH, DILATION_HEIGHT, DILATION_WIDTH);
  end

  localparam int unsigned PIXEL       = CHANNELS * ELEMENT_WIDTH;
  localparam int unsigned ROWS_OVER   = (KERNEL_HEIGHT - 1) * DILATION_HEIGHT;  // from a window's first row to its last
  localparam int unsigned PIXELS_OVER = (KERNEL_WIDTH - 1) * DILATION_WIDTH;    // the same for columns
  localparam int unsigned LAG         = DILATION_HEIGHT * WIDTH;                // pixels from a row of the kernel to the next
  if (ROWS_OVER >= HEIGHT || PIXELS_OVER >= WIDTH) begin : g_check_frame
    $fatal(1, "%m: the kernel covers %0d x %0d pixels, the frame has %0d x %0d", ROWS_OVER + 1, PIXELS_OVER + 1,
           HEIGHT, WIDTH);
  end

  // ---- Steps ------------------------------------------------------------------------------------------------------------
  logic go;
  logic last_column;
  logic column_hit;  // the next pixel is the last of a window, as far as its column goes
  logic row_hit;
  logic closes;
  logic available;

  assign closes        = column_hit && row_hit;
  assign s_axis_tready = !closes || available;
  assign go            = s_axis_tvalid && s_axis_tready;

  stride_counter #(
    .COUNT (WIDTH),
    .FIRST (PIXELS_OVER),
    .STRIDE(STRIDE_WIDTH)
  ) u_column (
    .clk (clk),
    .rst (rst),
    .step(go),
    .hit (column_hit),
    .last(last_column)
  );
  /* verilator lint_off UNUSEDSIGNAL */  // frames follow each other without an end
  logic last_row;
  /* verilator lint_on UNUSEDSIGNAL */
  stride_counter #(
    .COUNT (HEIGHT),
    .FIRST (ROWS_OVER),
    .STRIDE(STRIDE_HEIGHT)
  ) u_row (
    .clk (clk),
    .rst (rst),
    .step(go && last_column),
    .hit (row_hit),
    .last(last_row)
  );

  logic [3:1] closed;  // bit k: a window's last pixel came k cycles ago
  logic [2:1] active;  // bit k: a pixel came k cycles ago
  always_ff @(posedge clk) begin
    closed <= {closed[2:1], go && closes};
    active <= {active[1], go};
    if (rst) begin
      closed <= '0;
      active <= '0;
    end
  end

  // ---- Lines ------------------------------------------------------------------------------------------------------------
  // column: the newest pixel and those above it under the kernel, two cycles after it came; row 0 is the uppermost.
  logic [PIXEL-1:0]               pixel [2];
  logic [KERNEL_HEIGHT*PIXEL-1:0] column;
  always_ff @(posedge clk) begin
    pixel[0] <= s_axis_tdata;
    pixel[1] <= pixel[0];
  end

  if (KERNEL_HEIGHT == 1) begin : g_one_row
    assign column = pixel[1];
  end else begin : g_rows
    localparam int unsigned KEPT = (KERNEL_HEIGHT - 1) * PIXEL;
    logic [KEPT-1:0] above;  // the pixels above the newest one, the uppermost in the low bits
    assign column = {pixel[1], above};
    if (LAG < 4) begin : g_registers
      // Too few pixels for a memory, which is written two cycles after it is read.
      logic [KEPT-1:0] lines [LAG];
      assign above = lines[LAG-1];
      always_ff @(posedge clk) begin
        if (active[2]) begin
          lines[0] <= column[KERNEL_HEIGHT*PIXEL-1:PIXEL];
          for (int i = 1; i < LAG; i++) lines[i] <= lines[i-1];
        end
      end
    end else begin : g_memory
      localparam int unsigned ADDRESS_WIDTH = $clog2(LAG);
      (* no_rw_check, ram_style = MEMORY_STYLE *) logic [KEPT-1:0] memory [LAG];
      logic [ADDRESS_WIDTH-1:0] address [3];  // of the next pixel, and of those that came one and two cycles ago
      logic [KEPT-1:0]          word;
      always_ff @(posedge clk) begin
        if (go) address[0] <= (address[0] == ADDRESS_WIDTH'(LAG - 1)) ? '0 : address[0] + 1'b1;
        if (rst) address[0] <= '0;
      end
      // A block RAM's own output is late: a register behind it.
      always_ff @(posedge clk) begin
        address[1] <= address[0];
        address[2] <= address[1];
        word       <= memory[address[0]];
        above      <= word;
        if (active[2]) memory[address[2]] <= column[KERNEL_HEIGHT*PIXEL-1:PIXEL];
      end
    end
  end

  // ---- Columns: those of a window, and the ones between them -----------------------------------------------------------------
  logic [KERNEL_HEIGHT*PIXEL-1:0]              columns [PIXELS_OVER+1];  // the newest first
  logic [KERNEL_HEIGHT*KERNEL_WIDTH*PIXEL-1:0] window;
  always_ff @(posedge clk) begin
    if (active[2]) begin
      columns[0] <= column;
      for (int i = 1; i <= PIXELS_OVER; i++) columns[i] <= columns[i-1];
    end
  end
  for (genvar r = 0; r < KERNEL_HEIGHT; r++) begin : g_row
    for (genvar s = 0; s < KERNEL_WIDTH; s++) begin : g_tap
      assign window[(r*KERNEL_WIDTH+s)*PIXEL +: PIXEL] = columns[PIXELS_OVER-s*DILATION_WIDTH][r*PIXEL +: PIXEL];
    end
  end

  result_queue #(
    .DATA_WIDTH(KERNEL_HEIGHT * KERNEL_WIDTH * PIXEL),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (go && closes),
    .available    (available),
    .result_valid (closed[3]),
    .result_data  (window),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
