// SPDX-License-Identifier: Apache-2.0
//
// Says which steps of a loop of COUNT are of every STEP-th from START to before STOP, and which is the last.
//
//   Equation    with n = steps done in earlier cycles, modulo COUNT: kept = 1 iff START <= n < STOP and STEP divides n - START,
//               and last = 1 iff n = COUNT - 1
//   Input       a step is done in every cycle with step = 1
//   Latency     1 cycle from a step to the answers for the step after it; they come from one or two registers, or are
//               constant
//   Throughput  one step a cycle
//   Reset       the next step is the first of the loop
`default_nettype none

module slice_counter #(
  parameter int unsigned COUNT = 4,  // steps of the loop
  parameter int unsigned START = 0,  // the first that is kept
  parameter int unsigned STOP  = 4,  // steps from this one on are not kept
  parameter int unsigned STEP  = 1   // steps from one that is kept to the next
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic step,
  output logic      kept,
  output logic      last
);
  if (START >= STOP || STOP > COUNT || STEP < 1) begin : g_check
    $fatal(1, "%m: START must be less than STOP, STOP at most COUNT and STEP at least 1; got %0d, %0d, %0d and %0d",
           START, STOP, COUNT, STEP);
  end

  // One that is kept alone is found by its number. Where no other step leaves the same remainder, the limits need not be
  // looked at.
  localparam int unsigned STRIDE = (STEP < 1) ? 1 : STEP;  // what divides, even where the check above refuses
  localparam int unsigned FINAL  = START + (STOP - 1 - START) / STRIDE * STRIDE;
  localparam int unsigned EVERY  = (FINAL == START) ? 1 : STRIDE;
  localparam int unsigned BEFORE = (START < EVERY) ? 0 : START;
  localparam int unsigned AFTER  = (COUNT - FINAL <= EVERY) ? 0 : COUNT - 1 - FINAL;

  logic between;
  border_counter #(
    .BEFORE(BEFORE),
    .INNER (COUNT - BEFORE - AFTER),
    .AFTER (AFTER)
  ) u_between (
    .clk  (clk),
    .rst  (rst),
    .step (step),
    .inner(between),
    .last (last)
  );

  if (EVERY == 1) begin : g_all
    assign kept = between;
  end else begin : g_every
    localparam int unsigned WIDTH     = $clog2(EVERY);
    localparam int unsigned REMAINDER = START % EVERY;
    localparam int unsigned AHEAD     = (REMAINDER == 0) ? EVERY - 1 : REMAINDER - 1;
    logic [WIDTH-1:0] phase;  // n modulo EVERY
    logic             hit;    // phase = REMAINDER
    always_ff @(posedge clk) begin
      if (step) begin
        phase <= (last || phase == WIDTH'(EVERY - 1)) ? '0 : phase + 1'b1;
        hit   <= last ? REMAINDER == 0 : phase == WIDTH'(AHEAD);
      end
      if (rst) begin
        phase <= '0;
        hit   <= REMAINDER == 0;
      end
    end
    assign kept = between && hit;
  end
endmodule

`default_nettype wire
