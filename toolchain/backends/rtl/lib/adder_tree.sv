// SPDX-License-Identifier: Apache-2.0
//
// Sum of OPERANDS two's complement numbers by a pipelined binary tree.
//
//   Equation    sum = operands[0] + ... + operands[OPERANDS-1]  (modulo 2**SUM_WIDTH)
//   Latency     ceil(ceil(log2(OPERANDS)) / LEVELS_PER_STAGE) cycles; 0 for one operand
//   Throughput  one sum a cycle
//   Reset       none; the pipeline runs freely
`default_nettype none

module adder_tree #(
  parameter int unsigned OPERANDS         = 4,   // numbers to add
  parameter int unsigned OPERAND_WIDTH    = 8,   // bits of a number, at most SUM_WIDTH
  parameter int unsigned SUM_WIDTH        = 10,  // bits of the sum
  parameter int unsigned LEVELS_PER_STAGE = 1    // levels of adders between two registers
) (
  // Without a register (one operand) the clock has no load.
  /* verilator lint_off UNUSEDSIGNAL */
  input  wire logic                              clk,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic [OPERANDS*OPERAND_WIDTH-1:0] operands,  // operand 0 in the least significant bits
  output logic [SUM_WIDTH-1:0]                   sum
);
  if (OPERANDS < 1 || OPERAND_WIDTH < 1 || LEVELS_PER_STAGE < 1 || OPERAND_WIDTH > SUM_WIDTH) begin : g_check
    $fatal(1, "%m: needs OPERANDS, OPERAND_WIDTH, LEVELS_PER_STAGE >= 1 and OPERAND_WIDTH <= SUM_WIDTH; got %0d, %0d, %0d, %0d",
           OPERANDS, OPERAND_WIDTH, LEVELS_PER_STAGE, SUM_WIDTH);
  end

  localparam int unsigned LEVELS = $clog2(OPERANDS);

  // Level 0 holds the operands; level k holds sums of up to 2**k of them, k bits wider, and never more than SUM_WIDTH.
  for (genvar level = 0; level <= LEVELS; level++) begin : g_level
    localparam int unsigned NODES = (OPERANDS + 2**level - 1) / 2**level;
    localparam int unsigned WIDTH = (OPERAND_WIDTH + level < SUM_WIDTH) ? OPERAND_WIDTH + level : SUM_WIDTH;
    logic [NODES*WIDTH-1:0] node;

    if (level == 0) begin : g_operands
      assign node = operands;
    end else begin : g_sums
      localparam int unsigned BELOW = (OPERANDS + 2**(level - 1) - 1) / 2**(level - 1);
      localparam int unsigned BELOW_WIDTH =
          (OPERAND_WIDTH + level - 1 < SUM_WIDTH) ? OPERAND_WIDTH + level - 1 : SUM_WIDTH;
      logic [NODES*WIDTH-1:0] total;
      for (genvar n = 0; n < NODES; n++) begin : g_node
        logic signed [BELOW_WIDTH-1:0] left;
        assign left = g_level[level-1].node[2*n*BELOW_WIDTH +: BELOW_WIDTH];
        if (2 * n + 1 < BELOW) begin : g_pair
          logic signed [BELOW_WIDTH-1:0] right;
          assign right = g_level[level-1].node[(2*n+1)*BELOW_WIDTH +: BELOW_WIDTH];
          assign total[n*WIDTH +: WIDTH] = WIDTH'(left) + WIDTH'(right);
        end else begin : g_single
          assign total[n*WIDTH +: WIDTH] = WIDTH'(left);
        end
      end
      if (level % LEVELS_PER_STAGE == 0 || level == LEVELS) begin : g_register
        always_ff @(posedge clk) node <= total;
      end else begin : g_wire
        assign node = total;
      end
    end
  end

  localparam int unsigned TOP_WIDTH = (OPERAND_WIDTH + LEVELS < SUM_WIDTH) ? OPERAND_WIDTH + LEVELS : SUM_WIDTH;
  logic signed [TOP_WIDTH-1:0] top;
  assign top = g_level[LEVELS].node;
  assign sum = SUM_WIDTH'(top);
endmodule

`default_nettype wire
