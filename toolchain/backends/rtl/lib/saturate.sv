// SPDX-License-Identifier: Apache-2.0
//
// Brings one two's complement number into OUTPUT_WIDTH bits; combinational, the overflow half of requantise.
//
//   Equation    OVERFLOW 0 SATURATE             min(max(value, OUTPUT_MINIMUM), OUTPUT_MAXIMUM)
//                        1 WRAP                 value modulo 2**OUTPUT_WIDTH
//                        2 SATURATE_ZERO        value if OUTPUT_MINIMUM <= value <= OUTPUT_MAXIMUM, else 0
//                        3 WRAP_SIGN_MAGNITUDE  the low OUTPUT_WIDTH bits, all inverted if the highest of them differs from
//                                               bit OUTPUT_WIDTH of value
//   Latency     0: no register and no clock
//   Throughput  a new value and its result at any time
//   Reset       none: there is no state
`default_nettype none

module saturate #(
  parameter int unsigned   INPUT_WIDTH    = 16,    // bits of value, above OUTPUT_WIDTH
  parameter int unsigned   OVERFLOW       = 0,     // code above
  parameter int unsigned   OUTPUT_WIDTH   = 8,     // bits of result
  parameter longint signed OUTPUT_MINIMUM = -128,  // bounds of OVERFLOW 0 and 2
  parameter longint signed OUTPUT_MAXIMUM = 127
) (
  // Some ways of overflow do not look at every bit.
  /* verilator lint_off UNUSEDSIGNAL */
  input  wire logic signed [INPUT_WIDTH-1:0] value,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic [OUTPUT_WIDTH-1:0]            result
);
  if (INPUT_WIDTH <= OUTPUT_WIDTH || OUTPUT_WIDTH < 1 || OVERFLOW > 3) begin : g_check
    $fatal(1, "%m: needs INPUT_WIDTH > OUTPUT_WIDTH >= 1 and OVERFLOW 0 to 3; got %0d, %0d and %0d",
           INPUT_WIDTH, OUTPUT_WIDTH, OVERFLOW);
  end

  if (OVERFLOW == 1) begin : g_wrap
    assign result = value[OUTPUT_WIDTH-1:0];
  end else if (OVERFLOW == 3) begin : g_wrap_sign_magnitude
    // A value that fits has equal bits there, and stays as it is.
    assign result = value[OUTPUT_WIDTH-1:0] ^ {OUTPUT_WIDTH{value[OUTPUT_WIDTH] != value[OUTPUT_WIDTH-1]}};
  end else begin : g_bounded
    // A bound of 2**n - 1 or -(2**n) is a look at the bits above bit n: no comparator.
    localparam int unsigned UPPER_BITS = (OUTPUT_MAXIMUM > 0) ? $clog2(OUTPUT_MAXIMUM + 64'sd1) : 0;
    localparam int unsigned LOWER_BITS = (OUTPUT_MINIMUM < 0) ? $clog2(-OUTPUT_MINIMUM) : 0;
    localparam bit UPPER_EASY = OUTPUT_MAXIMUM >= 0 && UPPER_BITS < INPUT_WIDTH - 1 &&
                                OUTPUT_MAXIMUM == (64'sd1 <<< UPPER_BITS) - 64'sd1;
    localparam bit LOWER_EASY = OUTPUT_MINIMUM <= 0 && LOWER_BITS < INPUT_WIDTH - 1 &&
                                (OUTPUT_MINIMUM == 0 || OUTPUT_MINIMUM == -(64'sd1 <<< LOWER_BITS));
    // Other bounds are compared, wide enough for both sides; not used where the bits decide.
    localparam int unsigned WIDTH = (INPUT_WIDTH > 64) ? INPUT_WIDTH : 64;
    localparam logic signed [WIDTH-1:0] MINIMUM = WIDTH'(OUTPUT_MINIMUM);
    localparam logic signed [WIDTH-1:0] MAXIMUM = WIDTH'(OUTPUT_MAXIMUM);
    /* verilator lint_off UNUSEDSIGNAL */
    logic signed [WIDTH-1:0] extended;
    /* verilator lint_on UNUSEDSIGNAL */
    logic above, below;
    assign extended = WIDTH'(value);
    if (UPPER_EASY) begin : g_upper_bits
      assign above = !value[INPUT_WIDTH-1] && |value[INPUT_WIDTH-2:UPPER_BITS];
    end else begin : g_upper_compare
      assign above = extended > MAXIMUM;
    end
    if (OUTPUT_MINIMUM == 0) begin : g_lower_sign
      assign below = value[INPUT_WIDTH-1];
    end else if (LOWER_EASY) begin : g_lower_bits
      assign below = value[INPUT_WIDTH-1] && !(&value[INPUT_WIDTH-2:LOWER_BITS]);
    end else begin : g_lower_compare
      assign below = extended < MINIMUM;
    end
    if (OVERFLOW == 0) begin : g_saturate
      assign result = above ? MAXIMUM[OUTPUT_WIDTH-1:0] : below ? MINIMUM[OUTPUT_WIDTH-1:0] : value[OUTPUT_WIDTH-1:0];
    end else begin : g_zero
      assign result = (above || below) ? '0 : value[OUTPUT_WIDTH-1:0];
    end
  end
endmodule

`default_nettype wire
