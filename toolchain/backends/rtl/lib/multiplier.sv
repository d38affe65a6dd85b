// SPDX-License-Identifier: Apache-2.0
//
// Product of two two's complement numbers, with a registered output.
//
//   Equation    product(t + 2) = a(t) * b(t)  (modulo 2**PRODUCT_WIDTH)
//   Latency     2 cycles
//   Throughput  one product a cycle
//   Reset       none; the pipeline runs freely
`default_nettype none

module multiplier #(
  parameter int unsigned A_WIDTH       = 8,   // bits of a
  parameter int unsigned B_WIDTH       = 8,   // bits of b
  parameter int unsigned PRODUCT_WIDTH = 16,  // bits of the product
  parameter int unsigned STYLE         = 0    // 0: the synthesis tool decides, 1: LUTs, 2: DSP block
) (
  input  wire logic                      clk,
  input  wire logic signed [A_WIDTH-1:0] a,
  input  wire logic signed [B_WIDTH-1:0] b,
  output logic [PRODUCT_WIDTH-1:0]       product
);
  if (A_WIDTH < 1 || B_WIDTH < 1 || PRODUCT_WIDTH < 1 || STYLE > 2) begin : g_check
    $fatal(1, "%m: widths must be at least 1 and STYLE 0, 1 or 2; got %0d, %0d, %0d and %0d",
           A_WIDTH, B_WIDTH, PRODUCT_WIDTH, STYLE);
  end

  localparam int unsigned EXACT_WIDTH = A_WIDTH + B_WIDTH;
  localparam int unsigned WIDTH       = (EXACT_WIDTH > PRODUCT_WIDTH) ? EXACT_WIDTH : PRODUCT_WIDTH;

  // Bits above PRODUCT_WIDTH are dropped on purpose: the sums that follow are modular.
  /* verilator lint_off UNUSEDSIGNAL */
  logic signed [WIDTH-1:0] exact;
  /* verilator lint_on UNUSEDSIGNAL */
  always_ff @(posedge clk) product <= exact[PRODUCT_WIDTH-1:0];

  // A DSP block is slow and far from the adders: the register in front of `product` stands beside it, or inside it.
  if (STYLE == 0) begin : g_any
    always_ff @(posedge clk) exact <= WIDTH'(a) * WIDTH'(b);
  end else if (STYLE == 2) begin : g_dsp
    (* use_dsp = "yes", multstyle = "dsp", syn_multstyle = "block_mult" *) logic signed [EXACT_WIDTH-1:0] block;
    assign block = EXACT_WIDTH'(a) * EXACT_WIDTH'(b);
    always_ff @(posedge clk) exact <= WIDTH'(block);
  end else begin : g_luts
    // One adder a level of a tree over the bits of b, so that no tool sees a multiplication to put in a DSP block. A node
    // of level k is the product of a and 2**k bits of b, taken as unsigned but for the highest bit of b, which counts
    // negatively. Adding a node to the one below it touches none of the lower node's low bits: they bypass the adder, which
    // also keeps synthesis from merging the adders into a (larger) carry-save array. There is a register behind the first
    // level of adders.
    localparam int unsigned LEVELS = $clog2(B_WIDTH);
    for (genvar level = 0; level <= LEVELS; level++) begin : g_level
      localparam int unsigned NODES = (B_WIDTH + 2**level - 1) / 2**level;
      for (genvar n = 0; n < NODES; n++) begin : g_node
        localparam int unsigned LOW  = n * 2**level;  // lowest bit of b in this node
        localparam int unsigned BITS = (LOW + 2**level > B_WIDTH) ? B_WIDTH - LOW : 2**level;
        logic signed [A_WIDTH+BITS-1:0] node;
        logic signed [A_WIDTH+BITS-1:0] value;
        if (level == 0) begin : g_bit
          assign node = b[LOW] ? (A_WIDTH + 1)'(a) : '0;
        end else if (BITS <= 2**(level - 1)) begin : g_single
          assign node = g_level[level-1].g_node[2*n].value;
        end else begin : g_pair
          localparam int unsigned BELOW = 2**(level - 1);
          localparam int unsigned ABOVE = BITS - BELOW;
          logic signed [A_WIDTH-1:0]       carried;
          logic signed [A_WIDTH+ABOVE-1:0] high;
          logic signed [A_WIDTH+ABOVE-1:0] total;
          assign carried = g_level[level-1].g_node[2*n].value[A_WIDTH+BELOW-1:BELOW];
          assign high    = g_level[level-1].g_node[2*n+1].value;
          // The highest bit of b alone has not been negated yet.
          if (LOW + BITS == B_WIDTH && ABOVE == 1) begin : g_subtract
            assign total = (A_WIDTH + ABOVE)'(carried) - high;
          end else begin : g_add
            assign total = (A_WIDTH + ABOVE)'(carried) + high;
          end
          assign node = {total, g_level[level-1].g_node[2*n].value[BELOW-1:0]};
        end
        if (level == 1 || LEVELS == 0) begin : g_register
          always_ff @(posedge clk) value <= node;
        end else begin : g_wire
          assign value = node;
        end
      end
    end
    logic signed [EXACT_WIDTH-1:0] value;
    if (B_WIDTH == 1) begin : g_negative
      assign value = -g_level[0].g_node[0].value;
    end else begin : g_top
      assign value = g_level[LEVELS].g_node[0].value;
    end
    assign exact = WIDTH'(value);
  end
endmodule

`default_nettype wire
