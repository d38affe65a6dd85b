// SPDX-License-Identifier: Apache-2.0
//
// Says which steps of a loop of COUNT are FIRST, FIRST + STRIDE, FIRST + 2 * STRIDE and so on, and which is the last.
//
//   Equation    with n = steps done in earlier cycles, modulo COUNT: hit = 1 iff n >= FIRST and (n - FIRST) mod STRIDE = 0,
//               and last = 1 iff n = COUNT - 1
//   Input       a step is done in every cycle with step = 1
//   Latency     1 cycle from a step to the answers for the step after it; both come from registers, or are constant
//   Throughput  one step a cycle
//   Reset       the next step is the first of the loop
`default_nettype none

module stride_counter #(
  parameter int unsigned COUNT  = 8,  // steps of the loop
  parameter int unsigned FIRST  = 2,  // first step that hits, below COUNT
  parameter int unsigned STRIDE = 1   // steps from a hit to the next
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic step,
  output logic      hit,
  output logic      last
);
  if (COUNT < 1 || FIRST >= COUNT || STRIDE < 1) begin : g_check
    $fatal(1, "%m: COUNT and STRIDE must be at least 1 and FIRST below COUNT; got %0d, %0d and %0d", COUNT, STRIDE, FIRST);
  end

  wrap_counter #(
    .COUNT(COUNT)
  ) u_wrap_counter (
    .clk (clk),
    .rst (rst),
    .step(step),
    .last(last)
  );

  if (FIRST == 0 && (STRIDE == 1 || COUNT == 1)) begin : g_always
    assign hit = 1'b1;
  end else begin : g_counter
    localparam int unsigned MOST  = (FIRST > STRIDE) ? FIRST : STRIDE;
    localparam int unsigned WIDTH = $clog2(MOST + 1);
    logic [WIDTH-1:0] left;  // steps before the next hit
    always_ff @(posedge clk) begin
      if (step) begin
        if (last) begin
          left <= WIDTH'(FIRST);
          hit  <= FIRST == 0;
        end else if (hit) begin
          left <= WIDTH'(STRIDE - 1);
          hit  <= STRIDE == 1;
        end else begin
          left <= left - 1'b1;
          hit  <= left == WIDTH'(1);
        end
      end
      if (rst) begin
        left <= WIDTH'(FIRST);
        hit  <= FIRST == 0;
      end
    end
  end
endmodule

`default_nettype wire
