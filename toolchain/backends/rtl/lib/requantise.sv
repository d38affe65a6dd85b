// SPDX-License-Identifier: Apache-2.0
//
// Rescales integers by a power of two with a named rounding and a named overflow, lane by lane.
//
//   Equation    v = round(x * 2**-SHIFT);  y = overflow(v), of which OUTPUT_WIDTH bits are kept
//               ROUNDING  0 TRUNCATE       towards minus infinity (AP_TRN)
//                         1 TRUNCATE_ZERO  towards zero (AP_TRN_ZERO)
//                         2 HALF_UP        to nearest, ties towards plus infinity (AP_RND)
//                         3 HALF_DOWN      to nearest, ties towards minus infinity (AP_RND_MIN_INF)
//                         4 HALF_ZERO      to nearest, ties towards zero (AP_RND_ZERO)
//                         5 HALF_AWAY      to nearest, ties away from zero (AP_RND_INF)
//                         6 HALF_EVEN      to nearest, ties to the even neighbour (AP_RND_CONV)
//                         7 CEILING        towards plus infinity
//                         8 AWAY           away from zero
//                         9 HALF_DPU       to nearest, positive ties to even, negative ties towards plus infinity
//               OVERFLOW  0 SATURATE       to [OUTPUT_MINIMUM, OUTPUT_MAXIMUM] (AP_SAT, and AP_SAT_SYM by the bounds)
//                         1 WRAP           keep the low OUTPUT_WIDTH bits (AP_WRAP)
//                         2 SATURATE_ZERO  0 if v is outside [OUTPUT_MINIMUM, OUTPUT_MAXIMUM] (AP_SAT_ZERO)
//                         3 WRAP_SIGN_MAGNITUDE  the low OUTPUT_WIDTH bits, all inverted if the highest of them differs
//                              from bit OUTPUT_WIDTH of v (AP_WRAP_SM with no saturated bits)
//   Input       a beat is accepted in a cycle iff fewer than L + 1 beats accepted in earlier cycles are still inside
//   Latency     L = 2 if SHIFT > 0 and ROUNDING > 0, else L = 1: a beat accepted in cycle t is offered from cycle t + L,
//               or from the cycle after the beat before it was taken if that is later
//   Throughput  one beat a cycle
//   Reset       drops everything; data is not reset
`default_nettype none

module requantise #(
  parameter int unsigned   PE             = 1,     // lanes
  parameter int unsigned   INPUT_WIDTH    = 16,    // bits of an input element
  parameter bit            INPUT_SIGNED   = 1'b1,  // input elements are two's complement
  parameter int            SHIFT          = 4,     // above zero: bits dropped; below zero: zero bits appended
  parameter int unsigned   ROUNDING       = 0,     // code above
  parameter int unsigned   OVERFLOW       = 0,     // code above
  parameter int unsigned   OUTPUT_WIDTH   = 8,     // bits of an output element
  parameter bit            OUTPUT_SIGNED  = 1'b1,  // output elements are two's complement
  parameter longint signed OUTPUT_MINIMUM = -128,  // bounds of OVERFLOW 0 and 2, representable in the output
  parameter longint signed OUTPUT_MAXIMUM = 127
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
  if (PE < 1 || INPUT_WIDTH < 1 || OUTPUT_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: PE, INPUT_WIDTH and OUTPUT_WIDTH must be at least 1; got %0d, %0d and %0d",
           PE, INPUT_WIDTH, OUTPUT_WIDTH);
  end
  if (ROUNDING > 9 || OVERFLOW > 3) begin : g_check_codes
    $fatal(1, "%m: ROUNDING must be 0 to 9 and OVERFLOW 0 to 3; got %0d and %0d", ROUNDING, OVERFLOW);
  end
  if (OVERFLOW == 3 && !OUTPUT_SIGNED) begin : g_check_sign_magnitude
    $fatal(1, "%m: OVERFLOW 3 (WRAP_SIGN_MAGNITUDE) needs a signed output; got OUTPUT_SIGNED %0d", OUTPUT_SIGNED);
  end
  if (OUTPUT_MINIMUM > OUTPUT_MAXIMUM) begin : g_check_bounds
    $fatal(1, "%m: OUTPUT_MINIMUM must not be above OUTPUT_MAXIMUM; got %0d and %0d", OUTPUT_MINIMUM, OUTPUT_MAXIMUM);
  end

  localparam bit          ROUNDS     = SHIFT > 0 && ROUNDING > 0;
  localparam int unsigned DROPPED    = (SHIFT > 0) ? SHIFT : 0;
  localparam int unsigned APPENDED   = (SHIFT < 0) ? -SHIFT : 0;
  // The input as a signed number, at least one bit wider than what is dropped.
  localparam int unsigned NEEDED     = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned WIDE_WIDTH = (NEEDED > DROPPED) ? NEEDED : DROPPED + 1;
  // The rounded value has room for a carry; below it, the lowest bit that a wrap drops must exist.
  localparam int unsigned EXACT_WIDTH = WIDE_WIDTH - DROPPED + APPENDED + (ROUNDS ? 1 : 0);
  localparam int unsigned VALUE_WIDTH = (EXACT_WIDTH > OUTPUT_WIDTH) ? EXACT_WIDTH : OUTPUT_WIDTH + 1;

  // ---- Rounding ----------------------------------------------------------------------------------------------------
  logic [PE*VALUE_WIDTH-1:0] rounded;
  for (genvar p = 0; p < PE; p++) begin : g_round
    // Truncation does not look at the bits that it drops.
    /* verilator lint_off UNUSEDSIGNAL */
    logic signed [WIDE_WIDTH-1:0]  wide;
    /* verilator lint_on UNUSEDSIGNAL */
    logic signed [VALUE_WIDTH-1:0] value;
    if (INPUT_SIGNED) begin : g_signed
      logic signed [INPUT_WIDTH-1:0] element;
      assign element = s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH];
      assign wide    = WIDE_WIDTH'(element);
    end else begin : g_unsigned
      assign wide = WIDE_WIDTH'({1'b0, s_axis_tdata[p*INPUT_WIDTH +: INPUT_WIDTH]});
    end

    if (SHIFT > 0) begin : g_drop
      logic signed [WIDE_WIDTH-DROPPED-1:0] floor_bits;
      logic signed [VALUE_WIDTH-1:0]        floor_value;
      assign floor_bits  = wide[WIDE_WIDTH-1:DROPPED];
      assign floor_value = VALUE_WIDTH'(floor_bits);
      if (ROUNDS) begin : g_increment
        // What is dropped, in units of the last kept place: half or more, and anything besides a half. Each rounding
        // looks at some of these.
        /* verilator lint_off UNUSEDSIGNAL */
        logic negative, half, rest;
        /* verilator lint_on UNUSEDSIGNAL */
        logic increment;
        assign negative = wide[WIDE_WIDTH-1];
        assign half     = wide[DROPPED-1];
        if (DROPPED > 1) begin : g_rest
          assign rest = |wide[DROPPED-2:0];
        end else begin : g_no_rest
          assign rest = 1'b0;
        end
        if (ROUNDING == 1) begin : g_truncate_zero
          assign increment = negative && (half || rest);
        end else if (ROUNDING == 2) begin : g_half_up
          assign increment = half;
        end else if (ROUNDING == 3) begin : g_half_down
          assign increment = half && rest;
        end else if (ROUNDING == 4) begin : g_half_zero
          assign increment = half && (rest || negative);
        end else if (ROUNDING == 5) begin : g_half_away
          assign increment = half && (rest || !negative);
        end else if (ROUNDING == 6) begin : g_half_even
          assign increment = half && (rest || floor_value[0]);
        end else if (ROUNDING == 7) begin : g_ceiling
          assign increment = half || rest;
        end else if (ROUNDING == 8) begin : g_away
          assign increment = !negative && (half || rest);
        end else begin : g_half_dpu
          assign increment = half && (rest || negative || floor_value[0]);
        end
        assign value = floor_value + VALUE_WIDTH'({1'b0, increment});
      end else begin : g_truncate
        assign value = floor_value;
      end
    end else begin : g_append
      assign value = VALUE_WIDTH'(wide) <<< APPENDED;
    end
    assign rounded[p*VALUE_WIDTH +: VALUE_WIDTH] = value;
  end

  // A register between the rounding adder and the overflow logic, where there is an adder.
  logic [PE*VALUE_WIDTH-1:0] values;
  logic                      values_valid;
  logic                      values_ready;
  if (ROUNDS) begin : g_register
    assign s_axis_tready = !values_valid || values_ready;
    always_ff @(posedge clk) begin
      if (s_axis_tready) values_valid <= s_axis_tvalid;
      if (rst) values_valid <= 1'b0;
    end
    always_ff @(posedge clk) begin
      if (s_axis_tready) values <= rounded;
    end
  end else begin : g_no_register
    assign s_axis_tready = values_ready;
    assign values_valid  = s_axis_tvalid;
    assign values        = rounded;
  end

  // ---- Overflow ----------------------------------------------------------------------------------------------------
  logic [PE*OUTPUT_WIDTH-1:0] results;
  for (genvar p = 0; p < PE; p++) begin : g_overflow
    saturate #(
      .INPUT_WIDTH   (VALUE_WIDTH),
      .OVERFLOW      (OVERFLOW),
      .OUTPUT_WIDTH  (OUTPUT_WIDTH),
      .OUTPUT_MINIMUM(OUTPUT_MINIMUM),
      .OUTPUT_MAXIMUM(OUTPUT_MAXIMUM)
    ) u_saturate (
      .value (values[p*VALUE_WIDTH +: VALUE_WIDTH]),
      .result(results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH])
    );
  end

  skid_buffer #(
    .DATA_WIDTH(PE * OUTPUT_WIDTH)
  ) u_skid_buffer (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (results),
    .s_axis_tvalid(values_valid),
    .s_axis_tready(values_ready),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
