// SPDX-License-Identifier: Apache-2.0
//
// Repacks a stream of elements from INPUT_ELEMENTS to OUTPUT_ELEMENTS a beat, in order, for any two numbers.
//
//   Equation    output element e = input element e; element 0 of a beat is in the least significant bits
//   Structure   INPUT_ELEMENTS = OUTPUT_ELEMENTS: one skid_buffer;
//               INPUT_ELEMENTS divides OUTPUT_ELEMENTS: one stream_widen with FACTOR = OUTPUT_ELEMENTS / INPUT_ELEMENTS;
//               OUTPUT_ELEMENTS divides INPUT_ELEMENTS: one stream_narrow with FACTOR = INPUT_ELEMENTS / OUTPUT_ELEMENTS;
//               otherwise a stream_widen to M = the least common multiple, then a stream_narrow from M
//   Input       accepted by the rule of the first of these modules
//   Latency     that of these modules in a chain: a beat that is the last one of an output beat's elements, accepted in cycle
//               t, is offered from cycle t + 1 by a skid_buffer or stream_widen alone, from t + 2 by a stream_narrow alone, from
//               t + 3 by both, or later as their headers say
//   Throughput  limited only by the side with more beats: one of its beats a cycle
//   Frames      a frame's element count is a multiple of both numbers, hence of M: nothing stays behind at its end
//   Reset       drops everything; the next beat accepted starts a new frame
`default_nettype none

module stream_width_converter #(
  parameter int unsigned ELEMENT_WIDTH   = 8,  // bits of an element
  parameter int unsigned INPUT_ELEMENTS  = 4,  // elements of an input beat
  parameter int unsigned OUTPUT_ELEMENTS = 2   // elements of an output beat
) (
  input  wire logic                                     clk,
  input  wire logic                                     rst,
  input  wire logic [INPUT_ELEMENTS*ELEMENT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                                     s_axis_tvalid,
  output logic                                          s_axis_tready,
  output logic [OUTPUT_ELEMENTS*ELEMENT_WIDTH-1:0]      m_axis_tdata,
  output logic                                          m_axis_tvalid,
  input  wire logic                                     m_axis_tready
);
  if (ELEMENT_WIDTH < 1 || INPUT_ELEMENTS < 1 || OUTPUT_ELEMENTS < 1) begin : g_check
    $fatal(1, "%m: ELEMENT_WIDTH, INPUT_ELEMENTS and OUTPUT_ELEMENTS must be at least 1; got %0d, %0d and %0d",
           ELEMENT_WIDTH, INPUT_ELEMENTS, OUTPUT_ELEMENTS);
  end

  function automatic logic [31:0] least_common_multiple(input logic [31:0] a, input logic [31:0] b);
    least_common_multiple = a;
    while (least_common_multiple % b != 0) least_common_multiple = least_common_multiple + a;
  endfunction

  localparam int unsigned MIDDLE_ELEMENTS = least_common_multiple(INPUT_ELEMENTS, OUTPUT_ELEMENTS);
  localparam int unsigned WIDEN_FACTOR    = MIDDLE_ELEMENTS / INPUT_ELEMENTS;
  localparam int unsigned NARROW_FACTOR   = MIDDLE_ELEMENTS / OUTPUT_ELEMENTS;

  logic [MIDDLE_ELEMENTS*ELEMENT_WIDTH-1:0] middle_tdata;
  logic                                     middle_tvalid;
  logic                                     middle_tready;

  if (WIDEN_FACTOR > 1) begin : g_widen
    stream_widen #(
      .DATA_WIDTH(INPUT_ELEMENTS * ELEMENT_WIDTH),
      .FACTOR    (WIDEN_FACTOR)
    ) u_widen (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (s_axis_tdata),
      .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready),
      .m_axis_tdata (middle_tdata),
      .m_axis_tvalid(middle_tvalid),
      .m_axis_tready(middle_tready)
    );
  end else begin : g_no_widen
    assign middle_tdata  = s_axis_tdata;
    assign middle_tvalid = s_axis_tvalid;
    assign s_axis_tready = middle_tready;
  end

  if (NARROW_FACTOR > 1) begin : g_narrow
    stream_narrow #(
      .DATA_WIDTH(OUTPUT_ELEMENTS * ELEMENT_WIDTH),
      .FACTOR    (NARROW_FACTOR)
    ) u_narrow (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (middle_tdata),
      .s_axis_tvalid(middle_tvalid),
      .s_axis_tready(middle_tready),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end else if (WIDEN_FACTOR > 1) begin : g_no_narrow
    assign m_axis_tdata  = middle_tdata;
    assign m_axis_tvalid = middle_tvalid;
    assign middle_tready = m_axis_tready;
  end else begin : g_equal
    skid_buffer #(
      .DATA_WIDTH(OUTPUT_ELEMENTS * ELEMENT_WIDTH)
    ) u_skid_buffer (
      .clk          (clk),
      .rst          (rst),
      .s_axis_tdata (middle_tdata),
      .s_axis_tvalid(middle_tvalid),
      .s_axis_tready(middle_tready),
      .m_axis_tdata (m_axis_tdata),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
    );
  end
endmodule

`default_nettype wire
