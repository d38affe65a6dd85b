// SPDX-License-Identifier: Apache-2.0
//
// Stand-in for the ECP5 PLL in simulations that count core clock cycles: the clocks run at the oscillator's rate and the
// PLL is locked at once. Synthesis reads its ports and parameters only.
`default_nettype none

/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off UNUSEDSIGNAL */
module EHXPLLL #(
  parameter int    CLKI_DIV     = 1,
  parameter int    CLKFB_DIV    = 1,
  parameter string CLKOP_ENABLE = "ENABLED",
  parameter int    CLKOP_DIV    = 8,
  parameter int    CLKOP_CPHASE = 0,
  parameter string CLKOS_ENABLE = "DISABLED",
  parameter int    CLKOS_DIV    = 8,
  parameter int    CLKOS_CPHASE = 0,
  parameter string FEEDBK_PATH  = "CLKOP"
) (
  input  wire logic CLKI,
  input  wire logic CLKFB,
  input  wire logic RST,
  input  wire logic STDBY,
  output wire logic CLKOP,
  output wire logic CLKOS,
  output wire logic LOCK
);
  assign CLKOP = CLKI;
  assign CLKOS = CLKI;
  assign LOCK  = 1'b1;
endmodule
/* verilator lint_on UNUSEDSIGNAL */
/* verilator lint_on UNUSEDPARAM */

`default_nettype wire
