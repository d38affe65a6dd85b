// SPDX-License-Identifier: Apache-2.0
//
// Says which steps of a loop over BEFORE, INNER and AFTER steps are of the middle part, and which is the last.
//
//   Equation    with n = steps done in earlier cycles, modulo BEFORE + INNER + AFTER: inner = 1 iff
//               BEFORE <= n < BEFORE + INNER, and last = 1 iff n = BEFORE + INNER + AFTER - 1
//   Input       a step is done in every cycle with step = 1
//   Latency     1 cycle from a step to the answers for the step after it; both come from registers, or are constant
//   Throughput  one step a cycle
//   Reset       the next step is the first of the loop
`default_nettype none

module border_counter #(
  parameter int unsigned BEFORE = 1,  // steps before the middle
  parameter int unsigned INNER  = 4,  // steps of the middle, at least one
  parameter int unsigned AFTER  = 1   // steps behind the middle
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic step,
  output logic      inner,
  output logic      last
);
  if (INNER < 1) begin : g_check
    $fatal(1, "%m: INNER must be at least 1; got %0d", INNER);
  end

  if (BEFORE + AFTER == 0) begin : g_no_border
    assign inner = 1'b1;
    wrap_counter #(
      .COUNT(INNER)
    ) u_wrap_counter (
      .clk (clk),
      .rst (rst),
      .step(step),
      .last(last)
    );
  end else begin : g_border
    localparam int unsigned COUNT = BEFORE + INNER + AFTER;
    localparam int unsigned WIDTH = $clog2(COUNT);
    logic [WIDTH-1:0] count;
    logic             enter;
    if (BEFORE > 0) begin : g_before
      assign enter = count == WIDTH'(BEFORE - 1);
    end else begin : g_at_once
      assign enter = last;
    end
    always_ff @(posedge clk) begin
      if (step) begin
        count <= last ? '0 : count + 1'b1;
        last  <= count == WIDTH'(COUNT - 2);
        if (enter) inner <= 1'b1;
        else if (count == WIDTH'(BEFORE + INNER - 1)) inner <= 1'b0;
      end
      if (rst) begin
        count <= '0;
        last  <= 1'b0;
        inner <= BEFORE == 0;
      end
    end
  end
endmodule

`default_nettype wire
