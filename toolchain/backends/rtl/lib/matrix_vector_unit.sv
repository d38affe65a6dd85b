// SPDX-License-Identifier: Apache-2.0
//
// Folded matrix-vector product: multiplies every input vector by a constant matrix, SIMD columns and PE rows at a time.
//
//   Equation    y[o] = (sum over i of W[o][i] * x[i]) * 2**PRODUCT_SHIFT + bias[o], in two's complement,
//               o = group * PE + lane; group j is output beat j of the frame
//   Order       step n of a frame (n = 0 .. STEPS-1) multiplies input beat n mod SF into group floor(n / SF), where
//               SF = INPUT_SIZE / SIMD, NF = OUTPUT_SIZE / PE, STEPS = SF * NF; one step a cycle at most
//   Input       step n is done in the first cycle after step n-1 in which: (for n < SF) input beat n is offered, and (for
//               the last step of a group) fewer than SLOTS groups whose last step is done are still to be taken.
//               Steps 0 .. SF-1 accept the frame's input beats: s_axis_tready is high exactly in the cycles in which
//               the next step is one of them and does not wait for a slot
//   Latency     a group whose last step is done in cycle t is offered from cycle t + LATENCY, or from the cycle after
//               the group before it was taken if that is later. With
//                 T = ceil(ceil(log2(SIMD)) / ADDER_LEVELS),  F = 5 + T + (1 if SF > 1 and HAS_BIAS),
//                 SLOTS = 1 if F + 1 < SF; 2 if F + 1 < 2 * SF; else floor((F + 3) / SF) + 1,
//               LATENCY = F + 1 for SLOTS <= 2, else F + 3
//   Throughput  a frame every STEPS cycles, with no bubble between frames
//   Loading     where LOADABLE, load_bus replaces words of both memories, as constant_memory says. Frames under way may see
//               old and new words
//   Reset       the next beat accepted is beat 0 of a frame; results under way are dropped; of the data the accumulators
//               alone are reset, because a group begins with them at zero
//
// The first group works while the input arrives; the input is kept in a buffer and read back for the other groups. The
// pipeline runs freely, and the result queue reserves room before the last step of a group.
`default_nettype none

module matrix_vector_unit #(
  parameter int unsigned INPUT_SIZE        = 16,    // columns of the matrix
  parameter int unsigned OUTPUT_SIZE       = 4,     // rows of the matrix
  parameter int unsigned SIMD              = 4,     // columns a cycle; divides INPUT_SIZE
  parameter int unsigned PE                = 2,     // rows a cycle; divides OUTPUT_SIZE
  parameter int unsigned INPUT_WIDTH       = 4,     // bits of an input element
  parameter bit          INPUT_SIGNED      = 1'b0,  // input elements are two's complement
  parameter int unsigned WEIGHT_WIDTH      = 4,     // bits of a weight in the memory
  // 0: weights are two's complement (one bit: 0 or -1). 1: signs, one bit: 0 is +1 and 1 is -1. 2: two bits, never -2.
  // 3: two bits of magnitude, below one that says, in column lane 0, whether the weight is negative, and in lane s > 0 whether
  // its sign differs from that of lane s & (s-1): see adder_tree
  parameter int unsigned WEIGHT_KIND       = 0,
  parameter int unsigned ACCUMULATOR_WIDTH = 16,    // bits of an output, two's complement, enough for every y[o]
  parameter int unsigned PRODUCT_SHIFT     = 0,     // the products' weight is 2**PRODUCT_SHIFT output units
  parameter bit          HAS_BIAS          = 1'b0,  // add bias[o]
  parameter int unsigned BIAS_WIDTH        = 1,     // bits of a bias, two's complement, in output units
  // Word group * SF + beat: weight of (row lane p, column lane s) at bit (p * SIMD + s) * WEIGHT_WIDTH.
  parameter              WEIGHT_FILE       = "",
  // Word group: bias of row lane p at bit p * BIAS_WIDTH; not read if HAS_BIAS is 0.
  parameter              BIAS_FILE         = "",
  // 0: LUTs for weights of up to 4 and inputs of up to 8 bits, else the synthesis tool decides; 1: LUTs, 2: DSP blocks
  parameter int unsigned MULTIPLIER_STYLE  = 0,
  // Bits of a DSP block's wider factor; where rows fit side by side into it, one block multiplies for several. 0: never
  parameter int unsigned DSP_WIDTH         = 0,
  parameter              MEMORY_STYLE      = "auto",// hint for the weight memory: auto, block, distributed
  parameter int unsigned ADDER_LEVELS      = 1,     // levels of the adder tree between two registers
  parameter bit          LOADABLE          = 1'b0,  // weights and biases can be replaced through load_bus
  parameter int unsigned WEIGHT_LOAD_BASE  = 0,     // word addresses there: see constant_memory
  parameter int unsigned BIAS_LOAD_BASE    = 0
) (
  input  wire logic                              clk,
  input  wire logic                              rst,
  input  wire logic [64:0]                       load_bus,
  input  wire logic [SIMD*INPUT_WIDTH-1:0]       s_axis_tdata,
  input  wire logic                              s_axis_tvalid,
  output logic                                   s_axis_tready,
  output logic [PE*ACCUMULATOR_WIDTH-1:0]        m_axis_tdata,
  output logic                                   m_axis_tvalid,
  input  wire logic                              m_axis_tready
);
  if (SIMD < 1 || PE < 1 || INPUT_SIZE < 1 || OUTPUT_SIZE < 1 || INPUT_SIZE % SIMD != 0 || OUTPUT_SIZE % PE != 0)
  begin : g_check_folding
    $fatal(1, "%m: SIMD must divide INPUT_SIZE and PE must divide OUTPUT_SIZE; got %0d of %0d and %0d of %0d",
           SIMD, INPUT_SIZE, PE, OUTPUT_SIZE);
  end
  if (INPUT_WIDTH < 1 || INPUT_WIDTH > 64 || WEIGHT_WIDTH < 1 || WEIGHT_WIDTH > 64) begin : g_check_widths
    $fatal(1, "%m: INPUT_WIDTH and WEIGHT_WIDTH must be 1 to 64; got %0d and %0d", INPUT_WIDTH, WEIGHT_WIDTH);
  end
  if (ACCUMULATOR_WIDTH <= PRODUCT_SHIFT || (HAS_BIAS && BIAS_WIDTH < 1)) begin : g_check_accumulator
    $fatal(1, "%m: ACCUMULATOR_WIDTH must be above PRODUCT_SHIFT and BIAS_WIDTH at least 1; got %0d, %0d and %0d",
           ACCUMULATOR_WIDTH, PRODUCT_SHIFT, BIAS_WIDTH);
  end
  if (WEIGHT_KIND > 3 || (WEIGHT_KIND != 0 && WEIGHT_WIDTH != WEIGHT_KIND)) begin : g_check_kind
    $fatal(1, "%m: WEIGHT_KIND must be 0, or 1, 2 or 3 with WEIGHT_WIDTH the same; got %0d with %0d", WEIGHT_KIND, WEIGHT_WIDTH);
  end
  if (MULTIPLIER_STYLE > 2 || ADDER_LEVELS < 1) begin : g_check_style
    $fatal(1, "%m: MULTIPLIER_STYLE must be 0, 1 or 2 and ADDER_LEVELS at least 1; got %0d and %0d",
           MULTIPLIER_STYLE, ADDER_LEVELS);
  end

  localparam int unsigned COPY_BITS = 256;  // bits that one register of control serves at most

  localparam int unsigned SF    = INPUT_SIZE / SIMD;
  localparam int unsigned NF    = OUTPUT_SIZE / PE;
  localparam int unsigned STEPS = SF * NF;

  localparam int unsigned SF_WIDTH   = (SF > 1) ? $clog2(SF) : 1;
  localparam int unsigned NF_WIDTH   = (NF > 1) ? $clog2(NF) : 1;
  localparam int unsigned STEP_WIDTH = (STEPS > 1) ? $clog2(STEPS) : 1;

  // The low PRODUCT_SHIFT bits of an output come from the bias alone: products and sums are kept without them.
  localparam int unsigned SUM_WIDTH    = ACCUMULATOR_WIDTH - PRODUCT_SHIFT;

  // Narrow weights are taken apart into digits: two bits each, the lowest one bit if WEIGHT_WIDTH is odd.
  localparam bit          DIGITS       = WEIGHT_KIND != 0 || (WEIGHT_WIDTH <= 4 &&
                                         (MULTIPLIER_STYLE == 1 || (MULTIPLIER_STYLE == 0 && INPUT_WIDTH <= 8)));
  // Magnitudes select a multiple of the element, and the signs are left to the adders.
  localparam bit          MAGNITUDES   = WEIGHT_KIND == 3;
  // With signs for weights and bits for elements a product is a bit, and a sum of products a count of ones.
  localparam bit          COUNTS       = WEIGHT_KIND == 1 && INPUT_WIDTH == 1 && !INPUT_SIGNED && SUM_WIDTH > 1;
  localparam bit          LATE_ADDRESS = DIGITS || MULTIPLIER_STYLE == 1;

  // Cycles from a step to its sum over the columns (three to the operands, two to the products), and to the result.
  localparam int unsigned TREE_STAGES  = ($clog2(SIMD) + ADDER_LEVELS - 1) / ADDER_LEVELS;
  localparam int unsigned SUM_CYCLE    = 5 + TREE_STAGES;
  localparam int unsigned RESULT_CYCLE = SUM_CYCLE + ((SF > 1 && HAS_BIAS) ? 1 : 0);
  localparam int unsigned SLOTS        = (RESULT_CYCLE + 1 < SF)     ? 1 :
                                         (RESULT_CYCLE + 1 < 2 * SF) ? 2 : (RESULT_CYCLE + 3) / SF + 1;

  // ---- Steps -------------------------------------------------------------------------------------------------------
  logic [SF_WIDTH-1:0]   beat;
  logic [NF_WIDTH-1:0]   group;
  logic [STEP_WIDTH-1:0] step;
  logic                  last_beat;    // beat == SF - 1
  logic                  first_group;  // group == 0
  logic                  last_group;   // group == NF - 1
  logic                  slot_free;
  logic                  unblocked;
  logic                  go;

  assign unblocked     = !last_beat || slot_free;
  assign s_axis_tready = first_group && unblocked;
  assign go            = unblocked && (!first_group || s_axis_tvalid);

  always_ff @(posedge clk) begin
    if (go) begin
      step      <= (last_beat && last_group) ? '0 : step + 1'b1;
      beat      <= last_beat ? '0 : beat + 1'b1;
      last_beat <= (SF == 1) || (SF > 1 && beat == SF_WIDTH'(SF - 2));
      if (last_beat) begin
        group       <= last_group ? '0 : group + 1'b1;
        first_group <= last_group;
        last_group  <= (NF == 1) || (NF > 1 && group == NF_WIDTH'(NF - 2));
      end
    end
    if (rst) begin
      step        <= '0;
      beat        <= '0;
      group       <= '0;
      last_beat   <= SF == 1;
      first_group <= 1'b1;
      last_group  <= NF == 1;
    end
  end

  // Last steps of a group under way: bit k belongs to the step done k cycles ago.
  logic [RESULT_CYCLE:1] closing;
  always_ff @(posedge clk) begin
    closing <= {closing[RESULT_CYCLE-1:1], go && last_beat};
    if (rst) closing <= '0;
  end

  // ---- Operands: three cycles ------------------------------------------------------------------------------------
  logic [STEP_WIDTH-1:0]           weight_address;
  logic [PE*SIMD*WEIGHT_WIDTH-1:0] weight_word;
  constant_memory #(
    .DATA_WIDTH(PE * SIMD * WEIGHT_WIDTH),
    .DEPTH     (STEPS),
    .FILE      (WEIGHT_FILE),
    .STYLE     (MEMORY_STYLE),
    .LOADABLE  (LOADABLE),
    .LOAD_BASE (WEIGHT_LOAD_BASE)
  ) u_weights (
    .clk     (clk),
    .load_bus(load_bus),
    .address (weight_address),
    .data    (weight_word)
  );
  // The third cycle: before the memory it costs few registers; where it has to be a register of the weights, it is with the multipliers.
  if (LATE_ADDRESS) begin : g_address_register
    always_ff @(posedge clk) weight_address <= step;
  end else begin : g_address_wire
    assign weight_address = step;
  end

  logic [SIMD*INPUT_WIDTH-1:0] arriving;
  logic [SIMD*INPUT_WIDTH-1:0] elements;
  // Held while the other groups work, which is all that a frame of one beat needs.
  always_ff @(posedge clk) if (first_group) arriving <= s_axis_tdata;

  if (NF > 1 && SF > 1) begin : g_input_buffer
    // Written a cycle late, from registers, and read for the next group a cycle after that at the earliest.
    (* no_rw_check *) logic [SIMD*INPUT_WIDTH-1:0] memory [SF];
    logic [SIMD*INPUT_WIDTH-1:0] kept;
    logic                        use_kept;
    logic                        write;
    logic [SF_WIDTH-1:0]         write_beat;
    always_ff @(posedge clk) begin
      write      <= go && first_group;
      write_beat <= beat;
      if (write) memory[write_beat] <= arriving;
      kept     <= memory[beat];
      use_kept <= !first_group;
      elements <= use_kept ? kept : arriving;
    end
  end else begin : g_no_buffer
    always_ff @(posedge clk) elements <= arriving;
  end

  // ---- Products and their sums over the SIMD columns: two cycles and TREE_STAGES cycles --------------------------------
  logic [PE*SUM_WIDTH-1:0] sums;
  /* verilator lint_off UNUSEDSIGNAL */  // all sums are added but those of magnitudes, and those where there is an accumulator
  logic [PE-1:0]           subtracts;  // the row's sum counts negative
  /* verilator lint_on UNUSEDSIGNAL */
  if (!MAGNITUDES) begin : g_added
    assign subtracts = '0;
  end
  if (COUNTS) begin : g_counts
    column_sum_counts #(
      .SIMD        (SIMD),
      .PE          (PE),
      .SUM_WIDTH   (SUM_WIDTH),
      .ADDER_LEVELS(ADDER_LEVELS)
    ) u_columns (
      .clk     (clk),
      .elements(elements),
      .weights (weight_word),
      .sums    (sums)
    );
  end else if (MAGNITUDES) begin : g_magnitudes
    column_sum_magnitudes #(
      .SIMD        (SIMD),
      .PE          (PE),
      .INPUT_WIDTH (INPUT_WIDTH),
      .INPUT_SIGNED(INPUT_SIGNED),
      .SUM_WIDTH   (SUM_WIDTH),
      .SIGNED_SUMS (SF == 1),
      .ADDER_LEVELS(ADDER_LEVELS)
    ) u_columns (
      .clk      (clk),
      .elements (elements),
      .weights  (weight_word),
      .sums     (sums),
      .subtracts(subtracts)
    );
  end else if (DIGITS) begin : g_digits
    column_sum_digits #(
      .SIMD        (SIMD),
      .PE          (PE),
      .INPUT_WIDTH (INPUT_WIDTH),
      .INPUT_SIGNED(INPUT_SIGNED),
      .WEIGHT_WIDTH(WEIGHT_WIDTH),
      .WEIGHT_KIND (WEIGHT_KIND),
      .SUM_WIDTH   (SUM_WIDTH),
      .ADDER_LEVELS(ADDER_LEVELS)
    ) u_columns (
      .clk     (clk),
      .elements(elements),
      .weights (weight_word),
      .sums    (sums)
    );
  end else begin : g_multipliers
    column_sum_multipliers #(
      .SIMD        (SIMD),
      .PE          (PE),
      .INPUT_WIDTH (INPUT_WIDTH),
      .INPUT_SIGNED(INPUT_SIGNED),
      .WEIGHT_WIDTH(WEIGHT_WIDTH),
      .SUM_WIDTH   (SUM_WIDTH),
      .STYLE       (MULTIPLIER_STYLE),
      .DSP_WIDTH   (DSP_WIDTH),
      .ADDER_LEVELS(ADDER_LEVELS)
    ) u_columns (
      .clk     (clk),
      .elements(elements),
      .weights (weight_word),
      .sums    (sums)
    );
  end

  // ---- Sums over the beats of a group ------------------------------------------------------------------------------
  logic [PE*SUM_WIDTH-1:0] totals;  // belongs to the cycle RESULT_CYCLE after the last step
  if (SF > 1) begin : g_accumulate
    logic [SUM_CYCLE-1:1] active;  // bit k: a step was done k cycles ago
    always_ff @(posedge clk) begin
      active <= {active[SUM_CYCLE-2:1], go};
      if (rst) active <= '0;
    end
    // Registers that serve many bits are far from most of them: each of these copies serves a few rows.
    localparam int unsigned COPY_ROWS = (SUM_WIDTH < COPY_BITS) ? COPY_BITS / SUM_WIDTH : 1;
    localparam int unsigned COPIES    = (PE + COPY_ROWS - 1) / COPY_ROWS;
    logic [COPIES-1:0] clear;  // the cycle after a group's last sum; or a reset's
    logic [COPIES-1:0] adds;   // a step's sum is there
    for (genvar c = 0; c < COPIES; c++) begin : g_copy
      (* keep = "true" *) always_ff @(posedge clk) begin
        clear[c] <= rst || closing[SUM_CYCLE-1];
        adds[c]  <= !rst && active[SUM_CYCLE-1];
      end
    end
    for (genvar p = 0; p < PE; p++) begin : g_row
      logic [SUM_WIDTH-1:0] accumulator;
      logic [SUM_WIDTH-1:0] total;
      if (MAGNITUDES) begin : g_signed
        add_subtract #(
          .WIDTH(SUM_WIDTH)
        ) u_add (
          .a       (accumulator),
          .b       (sums[p*SUM_WIDTH +: SUM_WIDTH]),
          .subtract(subtracts[p]),
          .result  (total)
        );
      end else begin : g_added
        assign total = accumulator + sums[p*SUM_WIDTH +: SUM_WIDTH];
      end
      // Back to zero behind the last step, so that no multiplexer stands before the adder.
      always_ff @(posedge clk) begin
        if (clear[p/COPY_ROWS]) accumulator <= '0;
        else if (adds[p/COPY_ROWS]) accumulator <= total;
      end
      if (HAS_BIAS) begin : g_register
        always_ff @(posedge clk) totals[p*SUM_WIDTH +: SUM_WIDTH] <= total;
      end else begin : g_wire
        assign totals[p*SUM_WIDTH +: SUM_WIDTH] = total;
      end
    end
  end else begin : g_single_beat
    assign totals = sums;
  end

  // ---- Bias and output ---------------------------------------------------------------------------------------------
  logic [PE*ACCUMULATOR_WIDTH-1:0] results;
  if (HAS_BIAS) begin : g_bias
    logic [NF_WIDTH-1:0]      bias_group;
    logic [PE*BIAS_WIDTH-1:0] biases;
    // Addressed two cycles ahead of the result.
    always_ff @(posedge clk) begin
      if (closing[RESULT_CYCLE-2]) bias_group <= (bias_group == NF_WIDTH'(NF - 1)) ? '0 : bias_group + 1'b1;
      if (rst) bias_group <= '0;
    end
    constant_memory #(
      .DATA_WIDTH(PE * BIAS_WIDTH),
      .DEPTH     (NF),
      .FILE      (BIAS_FILE),
      .LOADABLE  (LOADABLE),
      .LOAD_BASE (BIAS_LOAD_BASE)
    ) u_biases (
      .clk     (clk),
      .load_bus(load_bus),
      .address (bias_group),
      .data    (biases)
    );
    for (genvar p = 0; p < PE; p++) begin : g_row
      // A bias wider than the outputs is redundant, or harmless modulo 2**ACCUMULATOR_WIDTH.
      /* verilator lint_off UNUSEDSIGNAL */
      logic signed [BIAS_WIDTH-1:0]        bias;
      /* verilator lint_on UNUSEDSIGNAL */
      logic        [ACCUMULATOR_WIDTH-1:0] addend;
      assign bias   = biases[p*BIAS_WIDTH +: BIAS_WIDTH];
      assign addend = ACCUMULATOR_WIDTH'(bias);
      assign results[p*ACCUMULATOR_WIDTH+PRODUCT_SHIFT +: SUM_WIDTH] =
          totals[p*SUM_WIDTH +: SUM_WIDTH] + addend[PRODUCT_SHIFT +: SUM_WIDTH];
      if (PRODUCT_SHIFT > 0) begin : g_low_bits
        assign results[p*ACCUMULATOR_WIDTH +: PRODUCT_SHIFT] = addend[PRODUCT_SHIFT-1:0];
      end
    end
  end else begin : g_no_bias
    for (genvar p = 0; p < PE; p++) begin : g_row
      assign results[p*ACCUMULATOR_WIDTH+PRODUCT_SHIFT +: SUM_WIDTH] = totals[p*SUM_WIDTH +: SUM_WIDTH];
      if (PRODUCT_SHIFT > 0) begin : g_low_bits
        assign results[p*ACCUMULATOR_WIDTH +: PRODUCT_SHIFT] = '0;
      end
    end
  end

  // From three slots on the queue has a memory: the last adder gets a register between itself and that.
  logic                            queue_valid;
  logic [PE*ACCUMULATOR_WIDTH-1:0] queue_data;
  if (SLOTS > 2) begin : g_result_register
    always_ff @(posedge clk) begin
      queue_valid <= !rst && closing[RESULT_CYCLE];
      queue_data  <= results;
    end
  end else begin : g_result_wire
    assign queue_valid = closing[RESULT_CYCLE];
    assign queue_data  = results;
  end

  result_queue #(
    .DATA_WIDTH(PE * ACCUMULATOR_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (go && last_beat),
    .available    (slot_free),
    .result_valid (queue_valid),
    .result_data  (queue_data),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
