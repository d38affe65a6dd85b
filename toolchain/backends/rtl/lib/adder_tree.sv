// SPDX-License-Identifier: Apache-2.0
//
// Sum of OPERANDS two's complement numbers, each added or, if SUBTRACTS, subtracted, by a pipelined binary tree.
//
//   Equation    sum = s[0] * operands[0] + ... + s[OPERANDS-1] * operands[OPERANDS-1]  (modulo 2**SUM_WIDTH), where every s[i]
//               is +1 if SUBTRACTS is 0; else s[0] = +1 and s[i] = s[i & (i-1)] * (subtract[i] ? -1 : +1): the bit says whether
//               an operand's sign differs from that of the one whose number has the lowest one cleared, which is the first on
//               the other side of the adder that joins them
//   Latency     ceil(ceil(log2(OPERANDS)) / LEVELS_PER_STAGE) cycles; 0 for one operand
//   Throughput  one sum a cycle
//   Reset       none; the pipeline runs freely
//
// So every adder of the tree needs one bit to be an adder or a subtractor, and no sign is computed here. The sign of the whole sum
// is that of operand 0, and is left to what takes the sum.
`default_nettype none

module adder_tree #(
  parameter int unsigned OPERANDS         = 4,    // numbers to add
  parameter int unsigned OPERAND_WIDTH    = 8,    // bits of a number, at most SUM_WIDTH
  parameter int unsigned SUM_WIDTH        = 10,   // bits of the sum
  parameter int unsigned LEVELS_PER_STAGE = 1,    // levels of adders between two registers
  parameter bit          SUBTRACTS        = 1'b0  // `subtract` counts
) (
  // Without a register (one operand) the clock has no load; no operand's sign differs from that of the first one, which has no bit.
  /* verilator lint_off UNUSEDSIGNAL */
  input  wire logic                              clk,
  input  wire logic [OPERANDS-1:0]               subtract,
  /* verilator lint_on UNUSEDSIGNAL */
  input  wire logic [OPERANDS*OPERAND_WIDTH-1:0] operands,  // operand 0 in the least significant bits
  output logic [SUM_WIDTH-1:0]                   sum
);
  if (OPERANDS < 1 || OPERAND_WIDTH < 1 || LEVELS_PER_STAGE < 1 || OPERAND_WIDTH > SUM_WIDTH) begin : g_check
    $fatal(1, "%m: needs OPERANDS, OPERAND_WIDTH, LEVELS_PER_STAGE >= 1 and OPERAND_WIDTH <= SUM_WIDTH; got %0d, %0d, %0d, %0d",
           OPERANDS, OPERAND_WIDTH, LEVELS_PER_STAGE, SUM_WIDTH);
  end

  localparam int unsigned LEVELS = $clog2(OPERANDS);

  // Level 0 holds the operands; level k holds sums of up to 2**k of them, k bits wider, and never more than SUM_WIDTH; and the bits of
  // `subtract` that the levels above need, of operands whose number is a multiple of 2**k.
  for (genvar level = 0; level <= LEVELS; level++) begin : g_level
    localparam int unsigned NODES = (OPERANDS + 2**level - 1) / 2**level;
    localparam int unsigned WIDTH = (OPERAND_WIDTH + level < SUM_WIDTH) ? OPERAND_WIDTH + level : SUM_WIDTH;
    logic [NODES*WIDTH-1:0] node;
    /* verilator lint_off UNUSEDSIGNAL */  // that of operand 0 says nothing, and none where all are added
    logic [NODES-1:0]       differs;
    /* verilator lint_on UNUSEDSIGNAL */

    if (level == 0) begin : g_operands
      assign node    = operands;
      assign differs = subtract;
    end else begin : g_sums
      localparam int unsigned BELOW = (OPERANDS + 2**(level - 1) - 1) / 2**(level - 1);
      localparam int unsigned BELOW_WIDTH =
          (OPERAND_WIDTH + level - 1 < SUM_WIDTH) ? OPERAND_WIDTH + level - 1 : SUM_WIDTH;
      logic [NODES*WIDTH-1:0] total;
      logic [NODES-1:0]       left_differs;
      for (genvar n = 0; n < NODES; n++) begin : g_node
        logic signed [BELOW_WIDTH-1:0] left;
        assign left            = g_level[level-1].node[2*n*BELOW_WIDTH +: BELOW_WIDTH];
        assign left_differs[n] = g_level[level-1].differs[2*n];
        if (2 * n + 1 >= BELOW) begin : g_single
          assign total[n*WIDTH +: WIDTH] = WIDTH'(left);
        end else begin : g_pair
          logic signed [BELOW_WIDTH-1:0] right;
          assign right = g_level[level-1].node[(2*n+1)*BELOW_WIDTH +: BELOW_WIDTH];
          if (SUBTRACTS) begin : g_either
            add_subtract #(
              .WIDTH(WIDTH)
            ) u_add (
              .a       (WIDTH'(left)),
              .b       (WIDTH'(right)),
              .subtract(g_level[level-1].differs[2*n+1]),
              .result  (total[n*WIDTH +: WIDTH])
            );
          end else begin : g_add
            assign total[n*WIDTH +: WIDTH] = WIDTH'(left) + WIDTH'(right);
          end
        end
      end
      if (level % LEVELS_PER_STAGE == 0 || level == LEVELS) begin : g_register
        always_ff @(posedge clk) begin
          node    <= total;
          differs <= left_differs;
        end
      end else begin : g_wire
        assign node    = total;
        assign differs = left_differs;
      end
    end
  end

  localparam int unsigned TOP_WIDTH = (OPERAND_WIDTH + LEVELS < SUM_WIDTH) ? OPERAND_WIDTH + LEVELS : SUM_WIDTH;
  logic signed [TOP_WIDTH-1:0] top;
  assign top = g_level[LEVELS].node;
  assign sum = SUM_WIDTH'(top);
endmodule

`default_nettype wire
