// SPDX-License-Identifier: Apache-2.0
//
// ULX3S: the accelerator on the USB serial line of the FT231X.
//
//   Lights      led[0] clock stable, led[1] a request is being worked on, led[2] the last request failed
//   Reset       from the clock generator, until the PLL has locked
`default_nettype none

module top (
  input  wire logic       clk_25mhz,
  input  wire logic       ftdi_txd,   // the host sends
  output logic            ftdi_rxd,   // the host receives
  output logic      [7:0] led,
  output logic            wifi_gpio0  // low would hold the board's ESP32 in its boot loader
);
  logic clk;
  logic rst;
  logic busy;
  logic failed;

  ecp5_clock #(
    .REFERENCE_DIVIDER  (design_parameters::PLL_REFERENCE_DIVIDER),
    .FEEDBACK_MULTIPLIER(design_parameters::PLL_FEEDBACK_MULTIPLIER),
    .OUTPUT_DIVIDER     (design_parameters::PLL_OUTPUT_DIVIDER)
  ) u_ecp5_clock (
    .oscillator(clk_25mhz),
    .clk       (clk),
    .rst       (rst)
  );

  accelerator #(
    .CLOCKS_PER_BIT     (design_parameters::CLOCKS_PER_BIT),
    .INPUT_BEATS        (design_parameters::INPUT_BEATS),
    .INPUT_BYTES        (design_parameters::INPUT_BYTES),
    .OUTPUT_BEATS       (design_parameters::OUTPUT_BEATS),
    .OUTPUT_BYTES       (design_parameters::OUTPUT_BYTES),
    .DESIGN_ID          (design_parameters::DESIGN_ID),
    .IDLE_TIMEOUT_CYCLES(design_parameters::IDLE_TIMEOUT_CYCLES),
    .RUN_TIMEOUT_CYCLES (design_parameters::RUN_TIMEOUT_CYCLES)
  ) u_accelerator (
    .clk   (clk),
    .rst   (rst),
    .rxd   (ftdi_txd),
    .txd   (ftdi_rxd),
    .busy  (busy),
    .failed(failed)
  );

  assign led        = {5'd0, failed, busy, !rst};
  assign wifi_gpio0 = 1'b1;
endmodule

`default_nettype wire
