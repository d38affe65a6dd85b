// SPDX-License-Identifier: Apache-2.0
//
// Adds a constant of its own to every channel, lane by lane.
//
//   Equation    y[c] = x[c] * 2**INPUT_SHIFT + bias[c], of which OUTPUT_WIDTH bits are kept; channel c = beat * PE + lane
//   Input       a beat is accepted in a cycle iff fewer than L + 1 beats accepted in earlier cycles are still inside
//   Latency     L = 5: a beat accepted in cycle t is offered from cycle t + L, or from the cycle after the beat before it
//               was taken if that is later
//   Throughput  one beat a cycle
//   Loading     where LOADABLE, load_bus replaces biases, as constant_memory says. Beats under way may see old and new ones
//   Reset       the next beat accepted is beat 0 of a frame; beats under way are dropped; data is not reset
`default_nettype none

module add_bias #(
  parameter int unsigned CHANNELS     = 4,     // numbers a frame
  parameter int unsigned PE           = 1,     // numbers a beat; divides CHANNELS
  parameter int unsigned INPUT_WIDTH  = 8,     // bits of a number
  parameter bit          INPUT_SIGNED = 1'b1,  // numbers are two's complement
  parameter int unsigned INPUT_SHIFT  = 0,     // a number's weight is 2**INPUT_SHIFT output units
  parameter int unsigned BIAS_WIDTH   = 8,     // bits of a bias, two's complement, in output units
  parameter int unsigned OUTPUT_WIDTH = 9,     // bits of an output
  // Word beat: bias of lane p at bit p * BIAS_WIDTH; one hexadecimal word a line.
  parameter              BIAS_FILE    = "",
  parameter bit          LOADABLE     = 1'b0,  // biases can be replaced through load_bus
  parameter int unsigned LOAD_BASE    = 0      // word address there: see constant_memory
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
  if (PE < 1 || CHANNELS < 1 || CHANNELS % PE != 0) begin : g_check_folding
    $fatal(1, "%m: PE must divide CHANNELS; got %0d and %0d", PE, CHANNELS);
  end
  if (INPUT_WIDTH < 1 || BIAS_WIDTH < 1 || OUTPUT_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: INPUT_WIDTH, BIAS_WIDTH and OUTPUT_WIDTH must be at least 1; got %0d, %0d and %0d",
           INPUT_WIDTH, BIAS_WIDTH, OUTPUT_WIDTH);
  end

  localparam int unsigned CF           = CHANNELS / PE;
  localparam int unsigned CF_WIDTH     = (CF > 1) ? $clog2(CF) : 1;
  localparam int unsigned RESULT_CYCLE = 3;  // two for the memory, one for the sum
  localparam int unsigned SLOTS        = RESULT_CYCLE + 3;
  localparam int unsigned SIGNED_WIDTH = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);

  logic [CF_WIDTH-1:0]     beat;
  logic                    accept;
  logic [RESULT_CYCLE:1]   active;  // bit k: a beat was accepted k cycles ago
  assign accept = s_axis_tvalid && s_axis_tready;
  always_ff @(posedge clk) begin
    if (accept) beat <= (beat == CF_WIDTH'(CF - 1)) ? '0 : beat + 1'b1;
    active <= {active[RESULT_CYCLE-1:1], accept};
    if (rst) begin
      beat   <= '0;
      active <= '0;
    end
  end

  logic [PE*BIAS_WIDTH-1:0] biases;
  constant_memory #(
    .DATA_WIDTH(PE * BIAS_WIDTH),
    .DEPTH     (CF),
    .FILE      (BIAS_FILE),
    .LOADABLE  (LOADABLE),
    .LOAD_BASE (LOAD_BASE)
  ) u_biases (
    .clk     (clk),
    .load_bus(load_bus),
    .address (beat),
    .data    (biases)
  );

  logic [PE*INPUT_WIDTH-1:0]  arriving;
  logic [PE*INPUT_WIDTH-1:0]  elements;
  logic [PE*OUTPUT_WIDTH-1:0] results;
  always_ff @(posedge clk) begin
    arriving <= s_axis_tdata;
    elements <= arriving;
  end
  for (genvar p = 0; p < PE; p++) begin : g_lane
    // Bits above OUTPUT_WIDTH are redundant: the caller chose a width that holds every output.
    /* verilator lint_off UNUSEDSIGNAL */
    logic signed [SIGNED_WIDTH-1:0] element;
    logic signed [BIAS_WIDTH-1:0]   bias;
    /* verilator lint_on UNUSEDSIGNAL */
    if (INPUT_SIGNED) begin : g_signed
      assign element = elements[p*INPUT_WIDTH +: INPUT_WIDTH];
    end else begin : g_unsigned
      assign element = {1'b0, elements[p*INPUT_WIDTH +: INPUT_WIDTH]};
    end
    assign bias = biases[p*BIAS_WIDTH +: BIAS_WIDTH];
    always_ff @(posedge clk) begin
      results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] <= (OUTPUT_WIDTH'(element) <<< INPUT_SHIFT) + OUTPUT_WIDTH'(bias);
    end
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
