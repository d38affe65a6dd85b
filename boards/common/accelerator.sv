// SPDX-License-Identifier: Apache-2.0
//
// A streaming core behind a serial line: receiver, transmitter, frame link and the generated core (module design_core).
//
//   Equation    see uart_frame_link for the frames; the serial lines idle high
//   Latency     of the inference alone is measured by uart_frame_link; the serial line costs 10 bit times a byte each way
//   Reset       synchronous; gives up the frame under way
`default_nettype none

module accelerator #(
  parameter int unsigned CLOCKS_PER_BIT      = 100,            // clock cycles of a serial bit
  parameter int unsigned INPUT_BEATS         = 1,              // beats of an input frame
  parameter int unsigned INPUT_BYTES         = 1,              // bytes of an input beat
  parameter int unsigned OUTPUT_BEATS        = 1,              // beats of a result frame
  parameter int unsigned OUTPUT_BYTES        = 1,              // bytes of a result beat
  parameter int unsigned DESIGN_ID           = 32'h0000_0000,  // tells the host which design this is
  parameter int unsigned IDLE_TIMEOUT_CYCLES = 1000,           // silence inside a request that ends it
  parameter int unsigned RUN_TIMEOUT_CYCLES  = 100000          // wait for the core's result
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic rxd,
  output logic      txd,
  output logic      busy,   // from a request's start byte to the end of its answer
  output logic      failed  // the last request was answered with an error
);
  logic [7:0] rx_data;
  logic       rx_valid;
  logic       rx_framing_error;
  logic [7:0] tx_data;
  logic       tx_valid;
  logic       tx_ready;

  logic                      core_rst;
  logic [8*INPUT_BYTES-1:0]  input_tdata;
  logic                      input_tvalid;
  logic                      input_tready;
  logic [8*OUTPUT_BYTES-1:0] result_tdata;
  logic                      result_tvalid;
  logic                      result_tready;
  logic                      result_tlast;

  uart_receiver #(
    .CLOCKS_PER_BIT(CLOCKS_PER_BIT)
  ) u_uart_receiver (
    .clk          (clk),
    .rst          (rst),
    .rxd          (rxd),
    .byte_data    (rx_data),
    .byte_valid   (rx_valid),
    .framing_error(rx_framing_error)
  );

  uart_transmitter #(
    .CLOCKS_PER_BIT(CLOCKS_PER_BIT)
  ) u_uart_transmitter (
    .clk       (clk),
    .rst       (rst),
    .byte_data (tx_data),
    .byte_valid(tx_valid),
    .byte_ready(tx_ready),
    .txd       (txd)
  );

  uart_frame_link #(
    .INPUT_BEATS        (INPUT_BEATS),
    .INPUT_BYTES        (INPUT_BYTES),
    .OUTPUT_BEATS       (OUTPUT_BEATS),
    .OUTPUT_BYTES       (OUTPUT_BYTES),
    .DESIGN_ID          (DESIGN_ID),
    .IDLE_TIMEOUT_CYCLES(IDLE_TIMEOUT_CYCLES),
    .RUN_TIMEOUT_CYCLES (RUN_TIMEOUT_CYCLES)
  ) u_uart_frame_link (
    .clk             (clk),
    .rst             (rst),
    .rx_data         (rx_data),
    .rx_valid        (rx_valid),
    .rx_framing_error(rx_framing_error),
    .tx_data         (tx_data),
    .tx_valid        (tx_valid),
    .tx_ready        (tx_ready),
    .core_rst        (core_rst),
    .m_axis_tdata    (input_tdata),
    .m_axis_tvalid   (input_tvalid),
    .m_axis_tready   (input_tready),
    .s_axis_tdata    (result_tdata),
    .s_axis_tvalid   (result_tvalid),
    .s_axis_tready   (result_tready),
    .s_axis_tlast    (result_tlast),
    .busy            (busy),
    .failed          (failed)
  );

  design_core u_design_core (
    .clk          (clk),
    .rst          (core_rst),
    .s_axis_tdata (input_tdata),
    .s_axis_tvalid(input_tvalid),
    .s_axis_tready(input_tready),
    .m_axis_tdata (result_tdata),
    .m_axis_tvalid(result_tvalid),
    .m_axis_tready(result_tready),
    .m_axis_tlast (result_tlast)
  );
endmodule

`default_nettype wire
