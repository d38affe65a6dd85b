// SPDX-License-Identifier: Apache-2.0
//
// The multiples of SIMD elements that the digits of narrow weights select.
//
//   Equation    once = x, negated = -x, thrice = 3 * x, each in FACTOR_WIDTH + 2 bits of two's complement, where FACTOR_WIDTH is
//               INPUT_WIDTH, and a bit more if elements have no sign
//   Latency     1 cycle
//   Throughput  SIMD elements a cycle
//   Reset       none; the pipeline runs freely
//
// Twice an element is a shift of the first one.
`default_nettype none

module element_multiples #(
  parameter int unsigned SIMD         = 4,    // elements
  parameter int unsigned INPUT_WIDTH  = 4,    // bits of an element
  parameter bit          INPUT_SIGNED = 1'b0  // elements are two's complement
) (
  input  wire logic                                                    clk,
  input  wire logic [SIMD*INPUT_WIDTH-1:0]                             elements,  // element 0 in the least significant bits
  output logic [SIMD*(INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1) + 2)-1:0]   once,
  output logic [SIMD*(INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1) + 2)-1:0]   negated,
  output logic [SIMD*(INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1) + 2)-1:0]   thrice
);
  if (SIMD < 1 || INPUT_WIDTH < 1) begin : g_check
    $fatal(1, "%m: SIMD and INPUT_WIDTH must be at least 1; got %0d and %0d", SIMD, INPUT_WIDTH);
  end

  localparam int unsigned FACTOR_WIDTH = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned SPAN         = FACTOR_WIDTH + 2;

  for (genvar s = 0; s < SIMD; s++) begin : g_element
    logic signed [FACTOR_WIDTH-1:0] factor;
    logic signed [SPAN-1:0]         value;
    if (INPUT_SIGNED) begin : g_signed
      assign factor = elements[s*INPUT_WIDTH +: INPUT_WIDTH];
    end else begin : g_unsigned
      assign factor = {1'b0, elements[s*INPUT_WIDTH +: INPUT_WIDTH]};
    end
    assign value = SPAN'(factor);
    // The attribute keeps a tool from merging the copies of several instances (Yosys looks for it on the process, others on the
    // register).
    (* keep = "true" *) always_ff @(posedge clk) once[s*SPAN +: SPAN] <= value;
    always_ff @(posedge clk) begin
      negated[s*SPAN +: SPAN] <= -value;
      thrice[s*SPAN +: SPAN]  <= value + (value <<< 1);
    end
  end
endmodule

`default_nettype wire
