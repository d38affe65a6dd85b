// SPDX-License-Identifier: Apache-2.0
//
// Sums over the columns of a matrix-vector product, by multipliers: of LUTs, or DSP blocks, of which one can serve several rows.
//
//   Equation    sums[p](t) = sum over s of W[p][s](t - L + D) * x[s](t - L)  (modulo 2**SUM_WIDTH), D = 1 if STYLE is 1, else 0
//   Latency     L = 3 + ceil(ceil(log2(SIMD)) / ADDER_LEVELS) cycles from the elements; from the weights the same, or, where
//               STYLE is 1, one less
//   Throughput  PE sums a cycle
//   Reset       none; the pipeline runs freely
//
// A DSP block wants a register beside it, which is here and is why weights come a cycle earlier than for multipliers of LUTs.
`default_nettype none

module column_sum_multipliers #(
  parameter int unsigned SIMD          = 4,     // columns
  parameter int unsigned PE            = 2,     // rows
  parameter int unsigned INPUT_WIDTH   = 8,     // bits of an element
  parameter bit          INPUT_SIGNED  = 1'b0,  // elements are two's complement
  parameter int unsigned WEIGHT_WIDTH  = 8,     // bits of a weight, two's complement
  parameter int unsigned SUM_WIDTH     = 18,    // bits of a sum
  parameter int unsigned STYLE         = 0,     // 0: the synthesis tool decides; 1: LUTs; 2: DSP blocks
  // Bits of a DSP block's wider factor; where rows fit side by side into it, one block multiplies for several. 0: never
  parameter int unsigned DSP_WIDTH     = 0,
  parameter int unsigned ADDER_LEVELS  = 1      // levels of the adder tree between two registers
) (
  input  wire logic                            clk,
  input  wire logic [SIMD*INPUT_WIDTH-1:0]     elements,
  input  wire logic [PE*SIMD*WEIGHT_WIDTH-1:0] weights,  // with the elements, or a cycle behind them if STYLE is 1; row by row
  output logic [PE*SUM_WIDTH-1:0]              sums      // row 0 in the least significant bits
);
  if (SIMD < 1 || PE < 1 || INPUT_WIDTH < 1 || WEIGHT_WIDTH < 1 || SUM_WIDTH < 1 || ADDER_LEVELS < 1) begin : g_check
    $fatal(1, "%m: all widths and numbers must be at least 1; got %0d, %0d, %0d, %0d, %0d and %0d",
           SIMD, PE, INPUT_WIDTH, WEIGHT_WIDTH, SUM_WIDTH, ADDER_LEVELS);
  end
  if (STYLE > 2) begin : g_check_style
    $fatal(1, "%m: STYLE must be 0, 1 or 2; got %0d", STYLE);
  end

  localparam int unsigned FACTOR_WIDTH  = INPUT_WIDTH + (INPUT_SIGNED ? 0 : 1);
  localparam int unsigned EXACT_WIDTH   = FACTOR_WIDTH + WEIGHT_WIDTH;
  localparam int unsigned PRODUCT_WIDTH = (EXACT_WIDTH < SUM_WIDTH) ? EXACT_WIDTH : SUM_WIDTH;

  // Rows that share a DSP block: as many as fit into its wider factor, each a product's width above the one below. The sum
  // of their weights can be one bit wider than the highest of them: where that is the least number and the rest negative.
  localparam int unsigned FITTING      = (DSP_WIDTH > WEIGHT_WIDTH) ? (DSP_WIDTH - WEIGHT_WIDTH - 1) / EXACT_WIDTH + 1 : 1;
  localparam int unsigned PACK         = (STYLE == 1) ? 1 : (FITTING < PE) ? FITTING : PE;
  localparam int unsigned PACKS        = (PE + PACK - 1) / PACK;
  localparam int unsigned PACKED_WIDTH = (PACK - 1) * EXACT_WIDTH + WEIGHT_WIDTH + ((PACK > 1) ? 1 : 0);

  /* verilator lint_off UNUSEDSIGNAL */  // the last rows may be fewer than share a block elsewhere
  logic [PACKS*SIMD*PACKED_WIDTH-1:0] operands;
  /* verilator lint_on UNUSEDSIGNAL */
  if (STYLE == 1) begin : g_weights
    assign operands = weights;
  end else begin : g_weight_register
    logic [PACKS*SIMD*PACKED_WIDTH-1:0] packed_word;
    for (genvar q = 0; q < PACKS; q++) begin : g_pack
      for (genvar s = 0; s < SIMD; s++) begin : g_column
        // The sum of the rows' weights, each a product's width above the one below: an adder a row that shares.
        for (genvar i = 0; i < PACK; i++) begin : g_weight
          localparam int unsigned WIDTH = i * EXACT_WIDTH + WEIGHT_WIDTH + ((i > 0) ? 1 : 0);
          logic signed [WIDTH-1:0]        sum;
          logic signed [WEIGHT_WIDTH-1:0] weight;
          if (q * PACK + i < PE) begin : g_row
            assign weight = weights[((q*PACK+i)*SIMD+s)*WEIGHT_WIDTH +: WEIGHT_WIDTH];
          end else begin : g_none
            assign weight = '0;
          end
          if (i == 0) begin : g_lowest
            assign sum = weight;
          end else begin : g_above
            assign sum = (WIDTH'(weight) <<< (i * EXACT_WIDTH)) + WIDTH'(g_weight[i-1].sum);
          end
        end
        assign packed_word[(q*SIMD+s)*PACKED_WIDTH +: PACKED_WIDTH] = g_weight[PACK-1].sum;
      end
    end
    (* keep = "true" *) always_ff @(posedge clk) operands <= packed_word;
  end

  for (genvar q = 0; q < PACKS; q++) begin : g_pack
    localparam int unsigned ROWS = (PE - q * PACK < PACK) ? PE - q * PACK : PACK;
    // Elements of the rows' own, next to their multipliers: rows are far apart where they are large. The attribute keeps a
    // tool from merging the copies (Yosys looks for it on the process, others on the register).
    (* keep = "true" *) logic [SIMD*INPUT_WIDTH-1:0] row_elements;
    (* keep = "true" *) always_ff @(posedge clk) row_elements <= elements;
    logic [ROWS*SIMD*PRODUCT_WIDTH-1:0] products;  // row by row
    for (genvar s = 0; s < SIMD; s++) begin : g_column
      logic signed [FACTOR_WIDTH-1:0] factor;
      if (INPUT_SIGNED) begin : g_signed
        assign factor = row_elements[s*INPUT_WIDTH +: INPUT_WIDTH];
      end else begin : g_unsigned
        assign factor = {1'b0, row_elements[s*INPUT_WIDTH +: INPUT_WIDTH]};
      end
      if (ROWS == 1) begin : g_single
        logic signed [WEIGHT_WIDTH-1:0] weight;
        assign weight = operands[(q*SIMD+s)*PACKED_WIDTH +: WEIGHT_WIDTH];
        multiplier #(
          .A_WIDTH      (FACTOR_WIDTH),
          .B_WIDTH      (WEIGHT_WIDTH),
          .PRODUCT_WIDTH(PRODUCT_WIDTH),
          .STYLE        (STYLE)
        ) u_multiplier (
          .clk    (clk),
          .a      (factor),
          .b      (weight),
          .product(products[s*PRODUCT_WIDTH +: PRODUCT_WIDTH])
        );
      end else begin : g_packed
        localparam int unsigned WIDTH = (ROWS - 1) * EXACT_WIDTH + WEIGHT_WIDTH + 1;
        logic [ROWS*PRODUCT_WIDTH-1:0] column_products;
        packed_multiplier #(
          .COUNT        (ROWS),
          .A_WIDTH      (FACTOR_WIDTH),
          .B_WIDTH      (WEIGHT_WIDTH),
          .PRODUCT_WIDTH(PRODUCT_WIDTH)
        ) u_multiplier (
          .clk     (clk),
          .a       (factor),
          .packed_b(operands[(q*SIMD+s)*PACKED_WIDTH +: WIDTH]),
          .products(column_products)
        );
        for (genvar r = 0; r < ROWS; r++) begin : g_row
          assign products[(r*SIMD+s)*PRODUCT_WIDTH +: PRODUCT_WIDTH] =
              column_products[r*PRODUCT_WIDTH +: PRODUCT_WIDTH];
        end
      end
    end
    for (genvar r = 0; r < ROWS; r++) begin : g_row
      adder_tree #(
        .OPERANDS        (SIMD),
        .OPERAND_WIDTH   (PRODUCT_WIDTH),
        .SUM_WIDTH       (SUM_WIDTH),
        .LEVELS_PER_STAGE(ADDER_LEVELS)
      ) u_adder_tree (
        .clk     (clk),
        .subtract('0),
        .operands(products[r*SIMD*PRODUCT_WIDTH +: SIMD*PRODUCT_WIDTH]),
        .sum     (sums[(q*PACK+r)*SUM_WIDTH +: SUM_WIDTH])
      );
    end
  end
endmodule

`default_nettype wire
