// SPDX-License-Identifier: Apache-2.0
//
// Core clock of an ECP5 device from an oscillator, and a reset that lasts until that clock is stable.
//
//   Equation    clk = oscillator / REFERENCE_DIVIDER * FEEDBACK_MULTIPLIER / OUTPUT_DIVIDER
//               The legal values are computed by toolchain/deploy/pll_ecp5.py. CLKOP only closes the loop (its divider
//               is the multiplier, so that it runs at the phase detector's frequency); CLKOS is the core clock
//   Reset       rst is synchronous to clk; it falls 16 cycles after the PLL has locked, and rises when lock is lost
`default_nettype none

module ecp5_clock #(
  parameter int REFERENCE_DIVIDER   = 1,   // 1 to 128
  parameter int FEEDBACK_MULTIPLIER = 24,  // 1 to 128
  parameter int OUTPUT_DIVIDER      = 6    // 1 to 128
) (
  input  wire logic oscillator,
  output wire logic clk,
  output logic      rst
);
  if (REFERENCE_DIVIDER < 1 || REFERENCE_DIVIDER > 128 || FEEDBACK_MULTIPLIER < 1 || FEEDBACK_MULTIPLIER > 128 ||
      OUTPUT_DIVIDER < 1 || OUTPUT_DIVIDER > 128) begin : g_check
    $fatal(1, "%m: dividers must be 1 to 128; got %0d, %0d, %0d", REFERENCE_DIVIDER, FEEDBACK_MULTIPLIER, OUTPUT_DIVIDER);
  end

  wire logic feedback;
  wire logic locked;

  // The attributes are the analogue settings (charge pump, loop filter) that the open tools use for this PLL.
  (* ICP_CURRENT = "12" *) (* LPF_RESISTOR = "8" *) (* MFG_ENABLE_FILTEROPAMP = "1" *) (* MFG_GMCREF_SEL = "2" *)
  EHXPLLL #(
    .CLKI_DIV     (REFERENCE_DIVIDER),
    .CLKFB_DIV    (1),
    .CLKOP_ENABLE ("ENABLED"),
    .CLKOP_DIV    (FEEDBACK_MULTIPLIER),
    .CLKOP_CPHASE (FEEDBACK_MULTIPLIER - 1),
    .CLKOS_ENABLE ("ENABLED"),
    .CLKOS_DIV    (OUTPUT_DIVIDER),
    .CLKOS_CPHASE (OUTPUT_DIVIDER - 1),
    .FEEDBK_PATH  ("CLKOP")
  ) u_pll (
    .CLKI (oscillator),
    .CLKFB(feedback),
    .RST  (1'b0),
    .STDBY(1'b0),
    .CLKOP(feedback),
    .CLKOS(clk),
    .LOCK (locked)
  );

  logic [1:0] synchroniser;
  logic [3:0] settle;
  initial begin
    synchroniser = '0;
    settle       = '0;
    rst          = 1'b1;
  end

  always_ff @(posedge clk) begin
    synchroniser <= {synchroniser[0], locked};
    settle       <= !synchroniser[1] ? '0 : (settle == '1 ? settle : settle + 1'b1);
    rst          <= settle != '1;
  end
endmodule

`default_nettype wire
