// SPDX-License-Identifier: Apache-2.0
//
// Simulation model of the ECP5 block RAM as yosys instances it: 2048 bytes of 9 bits with two ports.
//
//   Widths      1, 2, 4 (of the lower 8 bits of a byte), 9, 18 (two bytes), 36 (four bytes; port A then only writes and
//               port B only reads, the lower half on the pins of A, the upper half on the pins of B)
//   Address     in bits, as if a byte had 8; wider words take the address of their first bit, and in the bits that are
//               left over a write enable for each byte
//   Read        registered, in cycles with CE; a write cycle keeps the last value (NORMAL), gives the new data
//               (WRITETHROUGH) or the old (READBEFOREWRITE). RST sets the read register to 0
//   Contents    INITVAL_00 to _3F: 1024 words of 18 bits in slots of 20
//   Left out    output register, chip select decoding, inverted clocks: refused at elaboration
`default_nettype none

/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
module DP16KD #(
  parameter int    DATA_WIDTH_A        = 18,
  parameter int    DATA_WIDTH_B        = 18,
  parameter string REGMODE_A           = "NOREG",
  parameter string REGMODE_B           = "NOREG",
  parameter string RESETMODE           = "SYNC",
  parameter string ASYNC_RESET_RELEASE = "SYNC",
  parameter string CSDECODE_A          = "0b000",
  parameter string CSDECODE_B          = "0b000",
  parameter string WRITEMODE_A         = "NORMAL",
  parameter string WRITEMODE_B         = "NORMAL",
  parameter string CLKAMUX             = "CLKA",
  parameter string CLKBMUX             = "CLKB",
  parameter string GSR                 = "ENABLED",
  parameter logic [319:0]
    INITVAL_00 = '0, INITVAL_01 = '0, INITVAL_02 = '0, INITVAL_03 = '0, INITVAL_04 = '0, INITVAL_05 = '0,
    INITVAL_06 = '0, INITVAL_07 = '0, INITVAL_08 = '0, INITVAL_09 = '0, INITVAL_0A = '0, INITVAL_0B = '0,
    INITVAL_0C = '0, INITVAL_0D = '0, INITVAL_0E = '0, INITVAL_0F = '0, INITVAL_10 = '0, INITVAL_11 = '0,
    INITVAL_12 = '0, INITVAL_13 = '0, INITVAL_14 = '0, INITVAL_15 = '0, INITVAL_16 = '0, INITVAL_17 = '0,
    INITVAL_18 = '0, INITVAL_19 = '0, INITVAL_1A = '0, INITVAL_1B = '0, INITVAL_1C = '0, INITVAL_1D = '0,
    INITVAL_1E = '0, INITVAL_1F = '0, INITVAL_20 = '0, INITVAL_21 = '0, INITVAL_22 = '0, INITVAL_23 = '0,
    INITVAL_24 = '0, INITVAL_25 = '0, INITVAL_26 = '0, INITVAL_27 = '0, INITVAL_28 = '0, INITVAL_29 = '0,
    INITVAL_2A = '0, INITVAL_2B = '0, INITVAL_2C = '0, INITVAL_2D = '0, INITVAL_2E = '0, INITVAL_2F = '0,
    INITVAL_30 = '0, INITVAL_31 = '0, INITVAL_32 = '0, INITVAL_33 = '0, INITVAL_34 = '0, INITVAL_35 = '0,
    INITVAL_36 = '0, INITVAL_37 = '0, INITVAL_38 = '0, INITVAL_39 = '0, INITVAL_3A = '0, INITVAL_3B = '0,
    INITVAL_3C = '0, INITVAL_3D = '0, INITVAL_3E = '0, INITVAL_3F = '0
) (
  input  wire logic
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
    DIA0,
  input  wire logic
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input  wire logic
    CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output wire logic
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
    DOA0,
  input  wire logic
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
    DIB0,
  input  wire logic
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input  wire logic
    CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output wire logic
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
    DOB0
);
  if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || RESETMODE != "SYNC" || CSDECODE_A != "0b000" ||
      CSDECODE_B != "0b000" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB") begin : g_check_mode
    $fatal(1, "%m: this model has no output register, asynchronous reset, chip select decoding or inverted clock");
  end
  if (DATA_WIDTH_B == 36 && DATA_WIDTH_A != 36) begin : g_check_width
    $fatal(1, "%m: a read port of 36 bits needs a write port of 36 bits; got %0d", DATA_WIDTH_A);
  end

  localparam logic [20479:0] CONTENTS = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
    INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
    INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25,
    INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
    INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13,
    INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
    INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
    INITVAL_00
  };

  logic [8:0]  memory [2048];
  logic [35:0] read_a;
  logic [35:0] read_b;
  initial begin
    for (int i = 0; i < 1024; i++) {memory[2*i+1], memory[2*i]} = CONTENTS[20*i+:18];
    read_a = '0;
    read_b = '0;
  end

  function automatic logic [35:0] read(int width, logic [13:0] address);
    logic [8:0] first = memory[address[13:3]];
    case (width)
      1:       read = 36'(first[4'(address[2:0])]);
      2:       read = 36'(first[2*address[2:1]+:2]);
      4:       read = 36'(first[4*address[2]+:4]);
      9:       read = 36'(first);
      18:      read = 36'({memory[{address[13:4], 1'b1}], memory[{address[13:4], 1'b0}]});
      default: read = {memory[{address[13:5], 2'd3}], memory[{address[13:5], 2'd2}],
                       memory[{address[13:5], 2'd1}], memory[{address[13:5], 2'd0}]};
    endcase
  endfunction

  // What a word reads as after the enabled parts of it have been written.
  function automatic logic [35:0] merge(int width, logic [13:0] address, logic [35:0] data);
    merge = read(width, address);
    if (width < 18) merge = data;
    else for (int i = 0; i < width / 9; i++) if (address[i]) merge[9*i+:9] = data[9*i+:9];
  endfunction

  // Blocking assignments: one always block a port, and a port's read register takes its value before the write.
  task automatic write(int width, logic [13:0] address, logic [35:0] data);
    case (width)
      1:  memory[address[13:3]][4'(address[2:0])] = data[0];
      2:  memory[address[13:3]][2*address[2:1]+:2] = data[1:0];
      4:  memory[address[13:3]][4*address[2]+:4] = data[3:0];
      9:  memory[address[13:3]] = data[8:0];
      18: for (int i = 0; i < 2; i++) if (address[i]) memory[{address[13:4], 1'(i)}] = data[9*i+:9];
      default: for (int i = 0; i < 4; i++) if (address[i]) memory[{address[13:5], 2'(i)}] = data[9*i+:9];
    endcase
  endtask

  localparam bit WIDE = DATA_WIDTH_A == 36;

  wire logic [13:0] address_a = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
  };
  wire logic [13:0] address_b = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
  };
  wire logic [17:0] data_a    = {
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
    DIA0
  };
  wire logic [17:0] data_b    = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
    DIB0
  };
  wire logic [35:0] write_a   = WIDE ? {data_b, data_a} : 36'(data_a);
  wire logic [35:0] write_b   = 36'(data_b);

  // One block for both ports: they share a clock in every design that this project makes, and the reads of both come
  // before the writes of both.
  always @(posedge CLKA or posedge CLKB) begin
    if (CLKA && CEA) begin
      if (!WEA || WRITEMODE_A == "READBEFOREWRITE") read_a <= read(DATA_WIDTH_A, address_a);
      else if (WRITEMODE_A == "WRITETHROUGH") read_a <= merge(DATA_WIDTH_A, address_a, write_a);
    end
    if (CLKB && CEB) begin
      if (!WEB || WRITEMODE_B == "READBEFOREWRITE") read_b <= read(DATA_WIDTH_B, address_b);
      else if (WRITEMODE_B == "WRITETHROUGH") read_b <= merge(DATA_WIDTH_B, address_b, write_b);
    end
    if (CLKA && RSTA) read_a <= '0;
    if (CLKB && RSTB) read_b <= '0;
    if (CLKA && CEA && WEA && !RSTA) write(DATA_WIDTH_A, address_a, write_a);
    if (CLKB && CEB && WEB && !RSTB && !WIDE) write(DATA_WIDTH_B, address_b, write_b);
  end

  wire logic [17:0] out_a = DATA_WIDTH_B == 36 ? read_b[17:0] : read_a[17:0];
  wire logic [17:0] out_b = DATA_WIDTH_B == 36 ? read_b[35:18] : read_b[17:0];
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
    DOA0
  } = out_a;
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
    DOB0
  } = out_b;
endmodule
/* verilator lint_on UNUSEDPARAM */
/* verilator lint_on UNUSEDSIGNAL */

`default_nettype wire
