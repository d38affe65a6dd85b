// SPDX-License-Identifier: Apache-2.0
//
// Rectifier, plain or leaky with a power-of-two slope, optionally with an upper bound, lane by lane.
//
//   Equation    k = NEGATIVE_SLOPE_SHIFT;  k = -1: v = max(x, 0);  k >= 0: v = x * 2**k for x >= 0, else v = x
//               (the output has k more fraction bits than the input, so that a negative input is multiplied by 2**-k
//               exactly);  y = HAS_UPPER ? min(v, UPPER_BOUND) : v, of which OUTPUT_WIDTH bits are kept
//   Input       a beat is accepted in a cycle iff fewer than 2 beats accepted in earlier cycles are still inside
//   Latency     L = 1: a beat accepted in cycle t is offered from cycle t + 1, or from the cycle after the beat before it
//               was taken if that is later
//   Throughput  one beat a cycle
//   Reset       drops everything; data is not reset
`default_nettype none

module relu #(
  parameter int unsigned   PE                   = 1,     // lanes
  parameter int unsigned   INPUT_WIDTH          = 8,     // bits of an input element
  parameter bit            INPUT_SIGNED         = 1'b1,  // input elements are two's complement
  parameter int            NEGATIVE_SLOPE_SHIFT = -1,    // -1: negative inputs give 0; k: slope 2**-k
  parameter bit            HAS_UPPER            = 1'b0,  // bound the output
  parameter longint signed UPPER_BOUND          = 0,     // largest output, at least 0, in output units
  parameter int unsigned   OUTPUT_WIDTH         = 8      // bits of an output element
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [PE*INPUT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                       s_axis_tvalid,
  output logic                            s_axis_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PE < 1 || INPUT_WIDTH < 1 || OUTPUT_WIDTH < 1 || NEGATIVE_SLOPE_SHIFT < -1) begin : g_check
    $fatal(1, "%m: PE, INPUT_WIDTH, OUTPUT_WIDTH must be at least 1, NEGATIVE_SLOPE_SHIFT at least -1; got %0d, %0d, %0d, %0d",
           PE, INPUT_WIDTH, OUTPUT_WIDTH, NEGATIVE_SLOPE_SHIFT);
  end
  if (HAS_UPPER && UPPER_BOUND < 0) begin : g_check_bound
    $fatal(1, "%m: UPPER_BOUND must be at least 0; got %0d", UPPER_BOUND);
  end

  localparam int unsigned SLOPE_SHIFT  = (NEGATIVE_SLOPE_SHIFT > 0) ? NEGATIVE_SLOPE_SHIFT : 0;
  localparam int unsigned SIGNED_WIDTH = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned EXACT_WIDTH  = SIGNED_WIDTH + SLOPE_SHIFT;
  localparam int unsigned VALUE_WIDTH  = (EXACT_WIDTH > OUTPUT_WIDTH) ? EXACT_WIDTH : OUTPUT_WIDTH + 1;

  logic [PE*OUTPUT_WIDTH-1:0] results;
  for (genvar p = 0; p < PE; p++) begin : g_lane
    logic signed [VALUE_WIDTH-1:0] element;
    // Bits above OUTPUT_WIDTH are dropped on purpose: the caller chose a width that holds every output.
    /* verilator lint_off UNUSEDSIGNAL */
    logic signed [VALUE_WIDTH-1:0] value;
    /* verilator lint_on UNUSEDSIGNAL */
    if (INPUT_SIGNED) begin : g_signed
      logic signed [INPUT_WIDTH-1:0] bits;
      assign bits    = s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH];
      assign element = VALUE_WIDTH'(bits);
    end else begin : g_unsigned
      assign element = VALUE_WIDTH'({1'b0, s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]});
    end
    if (NEGATIVE_SLOPE_SHIFT < 0) begin : g_plain
      assign value = element[VALUE_WIDTH-1] ? '0 : element;
    end else begin : g_leaky
      assign value = element[VALUE_WIDTH-1] ? element : element <<< SLOPE_SHIFT;
    end
    if (HAS_UPPER) begin : g_bounded
      // The smallest value there is lies below any bound: only the upper side is active.
      saturate #(
        .INPUT_WIDTH   (VALUE_WIDTH),
        .OVERFLOW      (0),
        .OUTPUT_WIDTH  (OUTPUT_WIDTH),
        .OUTPUT_MINIMUM(64'sh8000_0000_0000_0000),
        .OUTPUT_MAXIMUM(UPPER_BOUND)
      ) u_saturate (
        .value (value),
        .result(results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH])
      );
    end else begin : g_unbounded
      assign results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = value[OUTPUT_WIDTH-1:0];
    end
  end

  skid_buffer #(
    .DATA_WIDTH(PE * OUTPUT_WIDTH)
  ) u_skid_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (results),
    .s_axis_tvalid(s_axis_tvalid),
    .s_axis_tready(s_axis_tready),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
