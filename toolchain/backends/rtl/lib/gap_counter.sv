// SPDX-License-Identifier: Apache-2.0
//
// Says which steps of a loop are one of COUNT that lie FACTOR apart, and which is the last.
//
//   Equation    with n = steps done in earlier cycles, modulo (COUNT - 1) * FACTOR + 1: inner = 1 iff n mod FACTOR = 0, and
//               last = 1 iff n = (COUNT - 1) * FACTOR
//   Input       a step is done in every cycle with step = 1
//   Latency     1 cycle from a step to the answers for the step after it; both are functions of registers, or constant
//   Throughput  one step a cycle
//   Reset       the next step is the first of the loop
`default_nettype none

module gap_counter #(
  parameter int unsigned COUNT  = 4,  // steps with inner = 1
  parameter int unsigned FACTOR = 2   // steps from one of them to the next
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic step,
  output logic      inner,
  output logic      last
);
  if (COUNT < 1 || FACTOR < 1) begin : g_check
    $fatal(1, "%m: COUNT and FACTOR must be at least 1; got %0d and %0d", COUNT, FACTOR);
  end

  logic last_inner;
  wrap_counter #(
    .COUNT(COUNT)
  ) u_inner (
    .clk (clk),
    .rst (rst),
    .step(step && inner),
    .last(last_inner)
  );
  assign last = inner && last_inner;

  if (COUNT == 1 || FACTOR == 1) begin : g_no_gap
    assign inner = 1'b1;
  end else begin : g_gap
    logic gap_end;
    wrap_counter #(
      .COUNT(FACTOR - 1)
    ) u_gap (
      .clk (clk),
      .rst (rst),
      .step(step && !inner),
      .last(gap_end)
    );
    always_ff @(posedge clk) begin
      if (step) inner <= inner ? last_inner : gap_end;
      if (rst) inner <= 1'b1;
    end
  end
endmodule

`default_nettype wire
