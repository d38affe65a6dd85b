// SPDX-License-Identifier: Apache-2.0
//
// Multiplies every element by a constant of its own; the constants repeat every PERIOD beats.
//
//   Equation    y = x * factor(beat mod PERIOD, lane), of which the low OUTPUT_WIDTH bits are kept, sign extended where the
//               product has fewer
//   Input       a beat is accepted in a cycle iff fewer than L + 1 beats accepted in earlier cycles are still inside
//   Latency     L = 6: a beat accepted in cycle t is offered from cycle t + L, or from the cycle after the beat before it
//               was taken if that is later
//   Throughput  one beat a cycle
//   Loading     where LOADABLE, load_bus replaces factors, as constant_memory says. Beats under way may see old and new ones
//   Reset       the next beat accepted is beat 0 of a period; beats under way are dropped; data is not reset
//
// With PERIOD = CHANNELS / PE it scales every channel. Behind sliding_window, with PERIOD = taps * CHANNELS / PE, and before
// window_reduce (sum) it makes a depthwise convolution.
`default_nettype none

module scale #(
  parameter int unsigned PERIOD           = 4,      // beats after which the factors repeat
  parameter int unsigned PE               = 1,      // elements of a beat
  parameter int unsigned INPUT_WIDTH      = 8,      // bits of an input element
  parameter bit          INPUT_SIGNED     = 1'b1,   // input elements are two's complement
  parameter int unsigned FACTOR_WIDTH     = 8,      // bits of a factor, two's complement
  parameter int unsigned OUTPUT_WIDTH     = 16,     // bits of an output element, two's complement
  // Word beat: factor of lane p at bit p * FACTOR_WIDTH; one hexadecimal word a line.
  parameter              FACTOR_FILE      = "",
  parameter int unsigned MULTIPLIER_STYLE = 0,      // 0: the synthesis tool decides, 1: LUTs, 2: DSP blocks
  parameter              MEMORY_STYLE     = "auto",// hint for the memory of factors: auto, block, distributed
  parameter bit          LOADABLE         = 1'b0,   // factors can be replaced through load_bus
  parameter int unsigned LOAD_BASE        = 0       // word address there: see constant_memory
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [64:0]                load_bus,
  input  wire logic [PE*INPUT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                       s_axis_tvalid,
  output logic                            s_axis_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PERIOD < 1 || PE < 1 || OUTPUT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: PERIOD, PE and OUTPUT_WIDTH must be at least 1; got %0d, %0d and %0d", PERIOD, PE, OUTPUT_WIDTH);
  end
  if (INPUT_WIDTH < 1 || INPUT_WIDTH > 64 || FACTOR_WIDTH < 1 || FACTOR_WIDTH > 64) begin : g_check_widths
    $fatal(1, "%m: INPUT_WIDTH and FACTOR_WIDTH must be 1 to 64; got %0d and %0d", INPUT_WIDTH, FACTOR_WIDTH);
  end
  if (MULTIPLIER_STYLE > 2) begin : g_check_style
    $fatal(1, "%m: MULTIPLIER_STYLE must be 0, 1 or 2; got %0d", MULTIPLIER_STYLE);
  end

  localparam int unsigned BEAT_WIDTH    = (PERIOD > 1) ? $clog2(PERIOD) : 1;
  localparam int unsigned SIGNED_WIDTH  = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned EXACT_WIDTH   = SIGNED_WIDTH + FACTOR_WIDTH;
  localparam int unsigned PRODUCT_WIDTH = (EXACT_WIDTH < OUTPUT_WIDTH) ? EXACT_WIDTH : OUTPUT_WIDTH;
  localparam int unsigned RESULT_CYCLE  = 4;  // two for the memory, two for the product
  localparam int unsigned SLOTS         = RESULT_CYCLE + 3;

  // ---- Beats -------------------------------------------------------------------------------------------------------
  logic [BEAT_WIDTH-1:0]   beat;
  logic                    last_beat;
  logic                    accept;
  logic [RESULT_CYCLE:1]   active;  // bit k: a beat was accepted k cycles ago
  assign accept = s_axis_tvalid && s_axis_tready;
  always_ff @(posedge clk) begin
    if (accept) begin
      beat      <= last_beat ? '0 : beat + 1'b1;
      last_beat <= (PERIOD == 1) || (PERIOD > 1 && beat == BEAT_WIDTH'(PERIOD - 2));
    end
    active <= {active[RESULT_CYCLE-1:1], accept};
    if (rst) begin
      beat      <= '0;
      last_beat <= PERIOD == 1;
      active    <= '0;
    end
  end

  // ---- Operands: two cycles ----------------------------------------------------------------------------------------
  logic [PE*FACTOR_WIDTH-1:0] factors;
  constant_memory #(
    .DATA_WIDTH(PE * FACTOR_WIDTH),
    .DEPTH     (PERIOD),
    .FILE      (FACTOR_FILE),
    .STYLE     (MEMORY_STYLE),
    .LOADABLE  (LOADABLE),
    .LOAD_BASE (LOAD_BASE)
  ) u_factors (
    .clk     (clk),
    .load_bus(load_bus),
    .address (beat),
    .data    (factors)
  );

  logic [PE*INPUT_WIDTH-1:0] arriving;
  logic [PE*INPUT_WIDTH-1:0] elements;
  always_ff @(posedge clk) begin
    arriving <= s_axis_tdata;
    elements <= arriving;
  end

  // ---- Products: two cycles ----------------------------------------------------------------------------------------
  logic [PE*OUTPUT_WIDTH-1:0] results;
  for (genvar p = 0; p < PE; p++) begin : g_lane
    logic signed [SIGNED_WIDTH-1:0]  element;
    logic signed [FACTOR_WIDTH-1:0]  factor;
    logic signed [PRODUCT_WIDTH-1:0] product;
    if (INPUT_SIGNED) begin : g_signed
      assign element = elements[p*INPUT_WIDTH +: INPUT_WIDTH];
    end else begin : g_unsigned
      assign element = {1'b0, elements[p*INPUT_WIDTH +: INPUT_WIDTH]};
    end
    assign factor = factors[p*FACTOR_WIDTH +: FACTOR_WIDTH];
    multiplier #(
      .A_WIDTH      (SIGNED_WIDTH),
      .B_WIDTH      (FACTOR_WIDTH),
      .PRODUCT_WIDTH(PRODUCT_WIDTH),
      .STYLE        (MULTIPLIER_STYLE)
    ) u_multiplier (
      .clk    (clk),
      .a      (element),
      .b      (factor),
      .product(product)
    );
    assign results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = OUTPUT_WIDTH'(product);
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
