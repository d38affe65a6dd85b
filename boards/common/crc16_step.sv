// SPDX-License-Identifier: Apache-2.0
//
// One byte step of the CRC with polynomial x^16 + x^12 + x^5 + 1, highest bit first (CRC-16/IBM-3740 when started at
// 0xFFFF; over the ASCII digits 1 to 9 it gives 0x29B1).
//
//   Equation    next = (crc * x^8 + byte_data * x^16) mod (x^16 + x^12 + x^5 + 1)
//   Latency     combinational
`default_nettype none

module crc16_step (
  input  wire logic [15:0] crc,
  input  wire logic [7:0]  byte_data,
  output logic      [15:0] next
);
  always_comb begin
    next = crc ^ {byte_data, 8'h00};
    for (int unsigned i = 0; i < 8; i++) next = {next[14:0], 1'b0} ^ (next[15] ? 16'h1021 : 16'h0000);
  end
endmodule

`default_nettype wire
