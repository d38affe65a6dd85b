// SPDX-License-Identifier: Apache-2.0
//
// Sum, difference or product of two streams, element by element.
//
//   Equation    y[k] = a[k] * 2**A_SHIFT + b[k] * 2**B_SHIFT, their difference, or a[k] * b[k], modulo 2**OUTPUT_WIDTH: the
//               low OUTPUT_WIDTH bits of the exact result, as two's complement where it has more than the exact result.
//               Output beat j is made of beat j of each input
//   Input       on each input, a beat is accepted in a cycle iff fewer than 2 beats accepted there in earlier cycles have not
//               been used in earlier cycles. Step j uses beat j of both, in the first cycle after step j-1 in which both were
//               accepted in earlier cycles and fewer than SLOTS results of earlier steps are still to be taken
//   Latency     the result of a step in cycle t is offered from cycle t + LATENCY, or from the cycle after the output beat
//               before it was taken if that is later. SLOTS = 2 and LATENCY = 1; for the product SLOTS = 5 and LATENCY = 4
//   Throughput  one output beat a cycle
//   Reset       empties both inputs and drops all results; data is not reset
`default_nettype none

module stream_combine #(
  parameter int unsigned OPERATION        = 0,     // 0: a + b, 1: a - b, 2: a * b
  parameter int unsigned PE               = 2,     // elements of a beat
  parameter int unsigned A_WIDTH          = 8,     // bits of an element of a
  parameter bit          A_SIGNED         = 1'b1,  // elements of a are two's complement
  parameter int unsigned A_SHIFT          = 0,     // bits by which a is shifted left, to the result's binary point
  parameter int unsigned B_WIDTH          = 8,     // bits of an element of b
  parameter bit          B_SIGNED         = 1'b1,  // elements of b are two's complement
  parameter int unsigned B_SHIFT          = 0,     // bits by which b is shifted left; both 0 for the product
  parameter int unsigned OUTPUT_WIDTH     = 9,     // bits of an output element
  parameter int unsigned MULTIPLIER_STYLE = 0      // 0: the synthesis tool decides, 1: LUTs, 2: DSP blocks
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [PE*A_WIDTH-1:0]      s_axis_a_tdata,
  input  wire logic                       s_axis_a_tvalid,
  output logic                            s_axis_a_tready,
  input  wire logic [PE*B_WIDTH-1:0]      s_axis_b_tdata,
  input  wire logic                       s_axis_b_tvalid,
  output logic                            s_axis_b_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PE < 1 || A_WIDTH < 1 || A_WIDTH > 64 || B_WIDTH < 1 || B_WIDTH > 64 || OUTPUT_WIDTH < 1) begin : g_check_widths
    $fatal(1, "%m: PE and OUTPUT_WIDTH must be at least 1, A_WIDTH and B_WIDTH 1 to 64; got %0d, %0d, %0d and %0d",
           PE, OUTPUT_WIDTH, A_WIDTH, B_WIDTH);
  end
  if (OPERATION > 2 || MULTIPLIER_STYLE > 2) begin : g_check_operation
    $fatal(1, "%m: OPERATION and MULTIPLIER_STYLE must be 0, 1 or 2; got %0d and %0d", OPERATION, MULTIPLIER_STYLE);
  end
  if (OPERATION == 2 && A_SHIFT + B_SHIFT > 0) begin : g_check_shift
    $fatal(1, "%m: A_SHIFT and B_SHIFT must be 0 for a product; got %0d and %0d", A_SHIFT, B_SHIFT);
  end

  // Each input has two registers of its own, so that neither tready depends on the other input's beat.
  logic [PE*A_WIDTH-1:0] a;
  logic [PE*B_WIDTH-1:0] b;
  logic                  a_valid;
  logic                  b_valid;
  logic                  room;

  skid_buffer #(
    .DATA_WIDTH(PE * A_WIDTH)
  ) u_a (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (s_axis_a_tdata),
    .s_axis_tvalid(s_axis_a_tvalid),
    .s_axis_tready(s_axis_a_tready),
    .m_axis_tdata (a),
    .m_axis_tvalid(a_valid),
    .m_axis_tready(b_valid && room)
  );
  skid_buffer #(
    .DATA_WIDTH(PE * B_WIDTH)
  ) u_b (
    .clk          (clk),
    .rst          (rst),
    .s_axis_tdata (s_axis_b_tdata),
    .s_axis_tvalid(s_axis_b_tvalid),
    .s_axis_tready(s_axis_b_tready),
    .m_axis_tdata (b),
    .m_axis_tvalid(b_valid),
    .m_axis_tready(a_valid && room)
  );

  logic [PE*OUTPUT_WIDTH-1:0] results;

  if (OPERATION == 2) begin : g_product
    // A sign bit of its own makes an unsigned factor two's complement. The multiplier adds once for each bit of its
    // second factor: the narrower one.
    localparam int unsigned A_FACTOR = A_WIDTH + (A_SIGNED ? 0 : 1);
    localparam int unsigned B_FACTOR = B_WIDTH + (B_SIGNED ? 0 : 1);
    for (genvar p = 0; p < PE; p++) begin : g_lane
      logic signed [A_FACTOR-1:0] factor_a;
      logic signed [B_FACTOR-1:0] factor_b;
      if (A_SIGNED) begin : g_a_signed
        assign factor_a = a[p*A_WIDTH +: A_WIDTH];
      end else begin : g_a_unsigned
        assign factor_a = {1'b0, a[p*A_WIDTH +: A_WIDTH]};
      end
      if (B_SIGNED) begin : g_b_signed
        assign factor_b = b[p*B_WIDTH +: B_WIDTH];
      end else begin : g_b_unsigned
        assign factor_b = {1'b0, b[p*B_WIDTH +: B_WIDTH]};
      end
      if (A_FACTOR < B_FACTOR) begin : g_swapped
        multiplier #(
          .A_WIDTH      (B_FACTOR),
          .B_WIDTH      (A_FACTOR),
          .PRODUCT_WIDTH(OUTPUT_WIDTH),
          .STYLE        (MULTIPLIER_STYLE)
        ) u_multiplier (
          .clk    (clk),
          .a      (factor_b),
          .b      (factor_a),
          .product(results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH])
        );
      end else begin : g_in_order
        multiplier #(
          .A_WIDTH      (A_FACTOR),
          .B_WIDTH      (B_FACTOR),
          .PRODUCT_WIDTH(OUTPUT_WIDTH),
          .STYLE        (MULTIPLIER_STYLE)
        ) u_multiplier (
          .clk    (clk),
          .a      (factor_a),
          .b      (factor_b),
          .product(results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH])
        );
      end
    end

    // Bit k: a step was done k cycles ago.
    logic [2:0] steps;
    assign steps[0] = a_valid && b_valid && room;
    always_ff @(posedge clk) begin
      steps[2:1] <= steps[1:0];
      if (rst) steps[2:1] <= '0;
    end
    result_queue #(
      .DATA_WIDTH(PE * OUTPUT_WIDTH),
      .SLOTS     (5)
    ) u_result_queue (
      .clk          (clk),
      .rst          (rst),
      .reserve      (steps[0]),
      .available    (room),
      .result_valid (steps[2]),
      .result_data  (results),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end else begin : g_sum
    for (genvar p = 0; p < PE; p++) begin : g_lane
      logic [OUTPUT_WIDTH-1:0] aligned_a;
      logic [OUTPUT_WIDTH-1:0] aligned_b;
      align #(
        .WIDTH       (A_WIDTH),
        .SIGNED      (A_SIGNED),
        .SHIFT       (A_SHIFT),
        .OUTPUT_WIDTH(OUTPUT_WIDTH)
      ) u_align_a (
        .x(a[p*A_WIDTH +: A_WIDTH]),
        .y(aligned_a)
      );
      align #(
        .WIDTH       (B_WIDTH),
        .SIGNED      (B_SIGNED),
        .SHIFT       (B_SHIFT),
        .OUTPUT_WIDTH(OUTPUT_WIDTH)
      ) u_align_b (
        .x(b[p*B_WIDTH +: B_WIDTH]),
        .y(aligned_b)
      );
      assign results[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = (OPERATION == 1) ? aligned_a - aligned_b : aligned_a + aligned_b;
    end
    skid_buffer #(
      .DATA_WIDTH(PE * OUTPUT_WIDTH)
    ) u_result (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (results),
      .s_axis_tvalid(a_valid && b_valid),
      .s_axis_tready(room),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end
endmodule

`default_nettype wire
