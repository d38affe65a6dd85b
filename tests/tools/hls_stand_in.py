# SPDX-License-Identifier: Apache-2.0
"""RTL as HLS compilers write it, by hand: a small network behind ap_ctrl_hs, with AXI-Stream ports or arrays with valids.

It stands in for what a vendor's tool would make of the hls4ml project of `network`, to prove the adapter and the rungs behind it.
"""

from __future__ import annotations

import numpy as np

from toolchain.ir import AddBias, Dense, Graph, GraphBuilder, Input, IntegerType

ROWS, INPUTS, OUTPUTS, WIDTH = 3, 4, 3, 5
WEIGHTS = np.array([[3, -2, 1], [0, 7, -5], [-8, 4, 2], [1, 1, 6]])
BIAS = np.array([5, -9, 2])


def network(width: int = WIDTH) -> Graph:
    builder = GraphBuilder("tiny")
    x = builder.add(Input((ROWS, INPUTS), IntegerType(True, width, 2)), name="x")
    sums = builder.add(Dense(WEIGHTS, 2), x, name="fc")
    builder.output(builder.add(AddBias(BIAS, 4), sums, name="scores"))
    return builder.build()


def _sum(inputs: list[str], output: int) -> str:
    terms = [f"$signed({name}) * {int(w)}" for name, w in zip(inputs, WEIGHTS[:, output], strict=True)]
    return " + ".join([*terms, f"({int(BIAS[output])})"])


def stream(
    top: str,
    width: int,
    *,
    byte_lanes: bool = True,
    a_port_a_lane: bool = False,
    spoiled: str = "",
    packed_output: bool = False,
) -> str:
    """io_stream: takes a packet, computes for two cycles, gives a packet. width: of a result in bits.

    byte_lanes: elements lie at multiples of 8 or 16 bits; else without gaps. a_port_a_lane: as Vivado HLS has it. spoiled: a fault.
    """
    if a_port_a_lane:
        ins = [f"node_x_V_data_{i}_V" for i in range(INPUTS)]
        outs = [f"layer2_out_V_data_{i}_V" for i in range(OUTPUTS)]
        in_bits, out_bits = 8, 16
        words = [f"node_x_V_data_{i}_V_TDATA[{WIDTH - 1}:0]" for i in range(INPUTS)]
    else:
        ins, outs = ["node_x"], ["layer2_out"]
        stride = 8 if byte_lanes else WIDTH
        in_bits = -(-INPUTS * stride // 8) * 8
        out_bits = OUTPUTS * 16 if byte_lanes else -(-OUTPUTS * width // 8) * 8
        words = [f"node_x_TDATA[{i * stride}+:{WIDTH}]" for i in range(INPUTS)]
    data = [f"{name}_{signal}" for name in (*ins, *outs) for signal in ("TDATA", "TVALID", "TREADY")]
    ports = ["ap_clk", "ap_rst_n", *data, "ap_start", "ap_done", "ap_ready", "ap_idle"]
    text = [f"`timescale 1 ns / 1 ps\n\nmodule {top} (", ",\n".join(f"        {port}" for port in ports), ");\n"]
    text += ["parameter    ap_ST_fsm_read = 2'd0;\n", "input   ap_clk;", "input   ap_rst_n;", "input   ap_start;"]
    text += ["output   ap_done;", "output   ap_ready;", "output   ap_idle;"]
    for name in ins:
        text += [f"input  [{in_bits - 1}:0] {name}_TDATA;", f"input   {name}_TVALID;", f"output   {name}_TREADY;"]
    for name in outs:
        text += [f"output  [{out_bits - 1}:0] {name}_TDATA;", f"output   {name}_TVALID;", f"input   {name}_TREADY;"]
    counters = ["packet", *(["kept"] if spoiled == "keeps its place over a reset" else [])]
    text += ["reg [1:0] state;", *(f"reg [7:0] {name};" for name in counters)]
    text += [f"reg signed [{width - 1}:0] result_{i};" for i in range(OUTPUTS)]
    text += [f"reg [{len(outs) - 1}:0] given;", "initial begin", "#0 state = 2'd0;"]
    text += [*(f"#0 {name} = 8'd0;" for name in counters), "end"]
    all_in = " & ".join(f"{name}_TVALID" for name in ins)
    take = f"(state == 2'd0) & ap_start & {all_in}"
    text += [f"assign {name}_TREADY = {take};" for name in ins]
    text += [f"assign {name}_TVALID = (state == 2'd2) & ~given[{i}];" for i, name in enumerate(outs)]
    ready = " & ".join(f"(given[{i}] | {name}_TREADY)" for i, name in enumerate(outs))
    if spoiled == "gives whether or not it is taken":
        ready = "1'b1"
    if a_port_a_lane:
        text += [
            f"assign {name}_TDATA = {{{{{16 - width}{{result_{i}[{width - 1}]}}}}, result_{i}}};"
            for i, name in enumerate(outs)
        ]
    else:
        stride = 16 if byte_lanes else width
        text += [f"assign layer2_out_TDATA[{i * stride}+:{width}] = result_{i};" for i in range(OUTPUTS)]
    text += [f"wire leaves = (state == 2'd2) & {ready};"]
    text += [f"assign ap_done = leaves & (packet == 8'd{ROWS - 1});", "assign ap_ready = ap_done;"]
    text += ["assign ap_idle = (state == 2'd0) & ~ap_start;", "always @ (posedge ap_clk) begin"]
    text += [
        "    if (ap_rst_n == 1'b0) begin",
        "        state <= 2'd0;",
        "        given <= 0;",
        "        packet <= 8'd0;",
    ]
    text += ["    end else begin", f"        if ({take}) begin", "            state <= 2'd1;"]
    sums = [_sum(words, i) for i in range(OUTPUTS)]
    if spoiled == "keeps its place over a reset":
        sums[0] += " + $signed({1'b0, kept != packet})"
    text += [f"            result_{i} <= {value};" for i, value in enumerate(sums)]
    text += [
        "        end",
        "        if (state == 2'd1) begin",
        "            state <= 2'd2;",
        "            given <= 0;",
        "        end",
    ]
    text += [f"        if ((state == 2'd2) & {name}_TREADY) given[{i}] <= 1'b1;" for i, name in enumerate(outs)]
    text += ["        if (leaves) begin", "            state <= 2'd0;"]
    text += [f"            {name} <= {name} == 8'd{ROWS - 1} ? 8'd0 : {name} + 8'd1;" for name in counters]
    return "\n".join([*text, "        end", "    end", "end", "", "endmodule", f"//{top}", ""])


def arrays(top: str, width: int, *, pipelined: bool, with_valids: bool = True, spoiled: str = "") -> str:
    """io_parallel: the whole array in one port, a port for each result.

    pipelined: takes a frame every other cycle, four at a time inside; else one after the other, with results before ap_ready.
    """
    bits, count = ROWS * INPUTS * WIDTH, ROWS * OUTPUTS
    outs = [f"layer2_out_{i}" for i in range(count)]
    ports = ["ap_clk", "ap_rst", "ap_start", "ap_done", "ap_idle", "ap_ready", "node_x_ap_vld", "node_x"]
    # In the order in which text is sorted, so that lane 10 would come before lane 2.
    ports += [name for out in sorted(outs) for name in ((out, f"{out}_ap_vld") if with_valids else (out,))]
    text = [f"`timescale 1 ns / 1 ps\n\nmodule {top} (", ",\n".join(f"        {port}" for port in ports), ");\n"]
    text += [f"input   {name};" for name in ("ap_clk", "ap_rst", "ap_start", "node_x_ap_vld")]
    text += [f"output   {name};" for name in ("ap_done", "ap_idle", "ap_ready")]
    text += [f"input  [{bits - 1}:0] node_x;"]
    for out in sorted(outs):
        text += [f"output  [{width - 1}:0] {out};", *([f"output   {out}_ap_vld;"] if with_valids else [])]
    depth = 4
    text += [f"reg [{width - 1}:0] result_{i} [0:{depth - 1}];" for i in range(count)]
    text += [
        "reg [3:0] valid;",
        "reg [3:0] busy;",
        "integer k;",
        "initial begin",
        "#0 valid = 4'd0;",
        "#0 busy = 4'd0;",
        "end",
    ]
    sums = []
    for i in range(count):
        row, output = divmod(i, OUTPUTS)
        places = [f"node_x[{(row * INPUTS + k) * WIDTH}+:{WIDTH}]" for k in range(INPUTS)]
        sums.append(f"            result_{i}[0] <= {_sum(places, output)};")
    if pipelined:
        take = "ap_start & node_x_ap_vld & (busy == 4'd0)"
        text += [f"wire take = {take};", "assign ap_ready = take;", "assign ap_done = valid[3];"]
        step = ["        busy <= take ? 4'd1 : 4'd0;"]
    else:
        text += [
            "wire take = ap_start & node_x_ap_vld & (busy == 4'd0);",
            "assign ap_done = busy == 4'd9;",
            "assign ap_ready = ap_done;",
        ]
        step = ["        busy <= take ? 4'd1 : (busy == 4'd0 | ap_done) ? 4'd0 : busy + 4'd1;"]
    if spoiled == "takes what is not there":
        text = [line.replace("ap_start & node_x_ap_vld", "1'b1") for line in text]
    text += ["assign ap_idle = ~ap_start & (valid == 4'd0);"]
    for i, out in enumerate(outs):
        place = depth - 1 if pipelined or with_valids else 0
        text += [f"assign {out} = result_{i}[{place}];"]
        if with_valids:
            text += [f"assign {out}_ap_vld = valid[{depth - 1}];"]
    text += [
        "always @ (posedge ap_clk) begin",
        "    if (ap_rst == 1'b1) begin",
        "        valid <= 4'd0;",
        "        busy <= 4'd0;",
    ]
    text += [
        "    end else begin",
        "        valid <= {valid[2:0], take};",
        *step,
        "        if (take) begin",
        *sums,
        "        end",
        "    end",
    ]
    for i in range(count):
        text += [f"    for (k = 1; k < {depth}; k = k + 1) result_{i}[k] <= result_{i}[k - 1];"]
    return "\n".join([*text, "end", "", "endmodule", f"//{top}", ""])
