// SPDX-License-Identifier: Apache-2.0
//
// Maximum or sum of every channel over TAPS vectors: behind sliding_window a pooling layer, alone a pool over the frame.
//
//   Equation    y[c] = max, or sum, over tap = 0 .. TAPS-1 of x[tap][c]. With CF = CHANNELS / PE, channel c = beat * PE +
//               lane; input beat tap * CF + beat of a group of TAPS * CF gives x[tap], output beat `beat` of CF gives y
//   Input       a beat of any but the last tap is accepted in any cycle; one of the last tap is accepted in a cycle iff
//               fewer than SLOTS beats of a last tap accepted in earlier cycles are still to be taken
//   Latency     a beat of the last tap accepted in cycle t is offered from cycle t + LATENCY, or from the cycle after the
//               output beat before it was taken if that is later. With
//                 R = 2 if CF <= 4, else 3,
//                 SLOTS = 1 if CF = 1 and TAPS > R + 1; 2 if CF = 1 and R + 1 >= TAPS > 1; else R + 3,
//               LATENCY = R + 1 for SLOTS <= 2, else R + 2
//   Throughput  one input beat a cycle, with no bubble between groups
//   Reset       the next beat accepted is beat 0 of a group; groups under way are dropped
//
// The running results of up to four vectors' beats go round in registers. More are kept in a memory, which is read,
// registered, combined and written in four cycles: the same beat of the next tap comes five cycles later at the earliest.
`default_nettype none

module window_reduce #(
  parameter int unsigned TAPS         = 4,     // vectors of a group
  parameter int unsigned CHANNELS     = 8,     // elements of a vector
  parameter int unsigned PE           = 2,     // elements of a beat; divides CHANNELS
  parameter int unsigned INPUT_WIDTH  = 8,     // bits of an input element
  parameter bit          INPUT_SIGNED = 1'b0,  // elements are two's complement, on both sides
  parameter int unsigned OPERATION    = 0,     // 0: maximum, 1: sum
  parameter int unsigned OUTPUT_WIDTH = 8,     // bits of an output element: of a sum as many low bits; more extend it
  // Hint to synthesis: auto, block, distributed. A simulator does not use it.
  /* verilator lint_off UNUSEDPARAM */
  parameter              MEMORY_STYLE = "auto"
  /* verilator lint_on UNUSEDPARAM */
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [PE*INPUT_WIDTH-1:0]  s_axis_tdata,
  input  wire logic                       s_axis_tvalid,
  output logic                            s_axis_tready,
  output logic [PE*OUTPUT_WIDTH-1:0]      m_axis_tdata,
  output logic                            m_axis_tvalid,
  input  wire logic                       m_axis_tready
);
  if (PE < 1 || CHANNELS < 1 || CHANNELS % PE != 0 || TAPS < 1) begin : g_check
    $fatal(1, "%m: PE must divide CHANNELS and TAPS must be at least 1; got %0d, %0d and %0d", PE, CHANNELS, TAPS);
  end
  if (INPUT_WIDTH < 1 || INPUT_WIDTH > 64 || OPERATION > 1) begin : g_check_operation
    $fatal(1, "%m: INPUT_WIDTH must be 1 to 64 and OPERATION 0 or 1; got %0d and %0d", INPUT_WIDTH, OPERATION);
  end

  // Bits of every result: TAPS times the end of the range that is farthest from zero; or those that are kept of a sum.
  localparam int unsigned GROWTH    = $clog2(TAPS);
  localparam int unsigned SUM_WIDTH = (INPUT_SIGNED || INPUT_WIDTH > 31) ? INPUT_WIDTH + GROWTH :
                                      $clog2(64'(TAPS) * ((64'd1 << INPUT_WIDTH) - 64'd1) + 64'd1);
  localparam int unsigned FULL      = (OPERATION == 0) ? INPUT_WIDTH : (SUM_WIDTH < OUTPUT_WIDTH) ? SUM_WIDTH : OUTPUT_WIDTH;
  if (OUTPUT_WIDTH < ((OPERATION == 0) ? INPUT_WIDTH : 1)) begin : g_check_width
    $fatal(1, "%m: OUTPUT_WIDTH must be at least 1, and INPUT_WIDTH for maxima; got %0d", OUTPUT_WIDTH);
  end

  localparam int unsigned CF    = CHANNELS / PE;
  localparam bit          RING  = CF <= 4;
  localparam int unsigned R     = RING ? 2 : 3;
  localparam int unsigned SLOTS = (CF > 1 || TAPS == 1) ? R + 3 : (TAPS > R + 1) ? 1 : 2;

  // ---- Beats -------------------------------------------------------------------------------------------------------
  logic accept;
  logic last_beat;
  logic last_tap;
  logic slot_free;

  assign s_axis_tready = !last_tap || slot_free;
  assign accept        = s_axis_tvalid && s_axis_tready;
  wrap_counter #(
    .COUNT(CF)
  ) u_beat (
    .clk (clk),
    .rst (rst),
    .step(accept),
    .last(last_beat)
  );
  wrap_counter #(
    .COUNT(TAPS)
  ) u_tap (
    .clk (clk),
    .rst (rst),
    .step(accept && last_beat),
    .last(last_tap)
  );

  // Bit k: a beat of the last tap was accepted k cycles ago.
  logic [R:0] closing;
  assign closing[0] = accept && last_tap;
  always_ff @(posedge clk) begin
    closing[R:1] <= closing[R-1:0];
    if (rst) closing[R:1] <= '0;
  end

  // ---- Running results -----------------------------------------------------------------------------------------------
  // Where a beat of the first tap arrives, the running result is neutral. For the maximum, numbers are compared by keys:
  // with the sign bit inverted, two's complement numbers are in the order of unsigned ones. Running results are kept as
  // complements of keys, so that nothing stands before the carry that compares them.
  localparam bit                     MAXIMUM = OPERATION == 0;
  localparam logic [INPUT_WIDTH-1:0] SIGN    = INPUT_WIDTH'(MAXIMUM && INPUT_SIGNED) << (INPUT_WIDTH - 1);

  logic [PE*INPUT_WIDTH-1:0] arriving;
  logic [PE*FULL-1:0]        running;
  logic [PE*FULL-1:0]        combined;
  logic [PE*FULL-1:0]        results;

  for (genvar p = 0; p < PE; p++) begin : g_lane
    /* verilator lint_off UNUSEDSIGNAL */  // a sum may keep fewer bits than an element has
    logic [INPUT_WIDTH-1:0] element;
    /* verilator lint_on UNUSEDSIGNAL */
    logic [FULL-1:0]        so_far;
    assign element = arriving[p*INPUT_WIDTH +: INPUT_WIDTH];
    assign so_far  = running[p*FULL +: FULL];
    if (MAXIMUM) begin : g_maximum
      // The sum's carry says whether the element is larger; its other bits carry no information.
      /* verilator lint_off UNUSEDSIGNAL */
      logic [FULL:0] difference;
      /* verilator lint_on UNUSEDSIGNAL */
      assign difference = {1'b0, element} + {1'b0, so_far};
      assign combined[p*FULL +: FULL] = difference[FULL] ? ~element : so_far;
    end else if (INPUT_SIGNED) begin : g_signed_sum
      assign combined[p*FULL +: FULL] = FULL'($signed(element)) + so_far;
    end else begin : g_sum
      assign combined[p*FULL +: FULL] = FULL'(element) + so_far;
    end
  end
  always_ff @(posedge clk) results <= combined;

  if (RING) begin : g_ring
    logic [CF*PE*FULL-1:0] ring;  // the newest result first
    logic [CF*PE*FULL-1:0] turned;
    logic                  active;
    assign running = ring[(CF-1)*PE*FULL +: PE*FULL];
    if (CF > 1) begin : g_beats
      assign turned = {ring[0 +: (CF-1)*PE*FULL], combined};
    end else begin : g_beat
      assign turned = combined;
    end
    always_ff @(posedge clk) begin
      arriving <= s_axis_tdata ^ {PE{SIGN}};
      active   <= accept && !rst;
      if (active) begin
        ring <= turned;
        if (closing[1]) ring[0 +: PE*FULL] <= {(PE*FULL){MAXIMUM}};
      end
      if (rst) ring <= {(CF*PE*FULL){MAXIMUM}};
    end
  end else begin : g_memory
    localparam int unsigned ADDRESS_WIDTH = $clog2(CF);
    (* no_rw_check, ram_style = MEMORY_STYLE *) logic [PE*FULL-1:0] memory [CF];
    logic [PE*INPUT_WIDTH-1:0] delayed;
    logic                      first_tap;
    logic                      delayed_first;
    logic [PE*FULL-1:0]        word;
    logic [2:0]                active;  // bit k: a beat was accepted k + 1 cycles ago
    logic [ADDRESS_WIDTH-1:0]  address;
    logic [ADDRESS_WIDTH-1:0]  write_address;
    always_ff @(posedge clk) begin
      active <= {active[1:0], accept};
      if (accept) address <= last_beat ? '0 : address + 1'b1;
      if (accept && last_beat) first_tap <= last_tap;
      if (active[2]) write_address <= (write_address == ADDRESS_WIDTH'(CF - 1)) ? '0 : write_address + 1'b1;
      if (rst) begin
        active        <= '0;
        address       <= '0;
        first_tap     <= 1'b1;
        write_address <= '0;
      end
    end
    always_ff @(posedge clk) begin
      if (active[2]) memory[write_address] <= results;
      // A block RAM's own output is late: a register behind it.
      word          <= memory[address];
      delayed       <= s_axis_tdata ^ {PE{SIGN}};
      delayed_first <= first_tap;
      running       <= delayed_first ? {(PE*FULL){MAXIMUM}} : word;
      arriving      <= delayed;
    end
  end

  logic [PE*OUTPUT_WIDTH-1:0] outputs;
  for (genvar p = 0; p < PE; p++) begin : g_output
    logic [FULL-1:0] result;
    assign result = MAXIMUM ? ~results[p*FULL +: FULL] ^ FULL'(SIGN) : results[p*FULL +: FULL];
    if (INPUT_SIGNED) begin : g_signed
      assign outputs[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = OUTPUT_WIDTH'($signed(result));
    end else begin : g_unsigned
      assign outputs[p*OUTPUT_WIDTH +: OUTPUT_WIDTH] = OUTPUT_WIDTH'(result);
    end
  end

  result_queue #(
    .DATA_WIDTH(PE * OUTPUT_WIDTH),
    .SLOTS     (SLOTS)
  ) u_result_queue (
    .clk          (clk),
    .rst          (rst),
    .reserve      (closing[0]),
    .available    (slot_free),
    .result_valid (closing[R]),
    .result_data  (outputs),
    .m_axis_tdata (m_axis_tdata),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready)
  );
endmodule

`default_nettype wire
