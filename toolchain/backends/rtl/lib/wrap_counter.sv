// SPDX-License-Identifier: Apache-2.0
//
// Says which step of a loop of COUNT is the last.
//
//   Equation    last = 1 iff the steps done in earlier cycles, modulo COUNT, are COUNT - 1
//   Input       a step is done in every cycle with step = 1
//   Latency     1 cycle from a step to the answer for the step after it; last comes from a register, or is constant
//   Throughput  one step a cycle
//   Reset       the next step is the first of the loop
`default_nettype none

module wrap_counter #(
  parameter int unsigned COUNT = 4  // steps of the loop
) (
  // A loop of one step needs none of them.
  /* verilator lint_off UNUSEDSIGNAL */
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic step,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic      last
);
  if (COUNT < 1) begin : g_check
    $fatal(1, "%m: COUNT must be at least 1; got %0d", COUNT);
  end

  if (COUNT <= 1) begin : g_constant
    assign last = 1'b1;
  end else begin : g_counter
    localparam int unsigned WIDTH = $clog2(COUNT);
    logic [WIDTH-1:0] count;
    always_ff @(posedge clk) begin
      if (step) begin
        count <= last ? '0 : count + 1'b1;
        last  <= count == WIDTH'(COUNT - 2);
      end
      if (rst) begin
        count <= '0;
        last  <= 1'b0;
      end
    end
  end
endmodule

`default_nettype wire
