# SPDX-License-Identifier: Apache-2.0
"""FINN's RTL of a line of Dense and Threshold stages: ``python finn_rtl.py GRAPH FOLDING PART FOLDER``.

GRAPH: a saved graph. FOLDING: JSON, a list of [SIMD, PE] (matrix) or [PE] (thresholds), one a layer. The FIFO before a
matrix holds a vector, so that the layers before it can work on the next frame, as they do in our networks. FOLDER gets sources.f,
the memory files that the sources name, facts.json, and corrected copies of FINN's sources (see `CORRECTIONS`). FINN's
transformations are called directly; no vendor tool runs. The nodes' own streams are joined by a generated top module.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

#: Faults of the library in the tools at hand: file -> (text as it is, text that works), each found exactly once.
#: The queue behind a matrix unit is too short for back-pressure; the others are what Verilator or Yosys do not take.
CORRECTIONS: dict[str, list[tuple[str, str]]] = {
    "fifo.sv": [("typedef struct {\n\t\tint unsigned  lo;", "typedef struct packed {\n\t\tint unsigned  lo;")],
    "thresholding.sv": [("p.ptr[M-1:SN+1] < 2**stage", "(p.ptr[M-1:0] >> (SN+1)) < 2**stage")],
    # Weights are constants: what could write them goes, as it does where the node is built without a configuration port.
    "memstream_axi.sv": [
        ("uwire  config_ce;", "uwire  config_ce = 0;"),
        ("uwire  config_we;", "uwire  config_we = 0;"),
        (".ip_en(config_ce)", ".ip_en()"),
        (".ip_wen(config_we)", ".ip_wen()"),
    ],
    "mvu.sv": [("if(1) begin : blkRecoveryWatch", "if(0) begin : blkRecoveryWatch")],
    "mvu_vvu_axi.sv": [
        ("MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH;", "MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH + 8;"),
    ],
}


def corrected(name: str, text: str) -> str:
    for found, wanted in CORRECTIONS.get(name, []):
        if text.count(found) != 1:
            raise SystemExit(f"{name}: {found!r} is there {text.count(found)} times; the correction needs it once")
        text = text.replace(found, wanted)
    if name == "add_multi.sv":
        # A function of constants has to stand outside the generate block that uses it.
        start = text.index("\t\ttypedef int unsigned  leaf_load_t")
        end = text.index("endfunction : init_leaf_loads") + len("endfunction : init_leaf_loads")
        function, text = text[start:end], text[:start] + text[end:]
        place = text.index("\tuwire [SUM_WIDTH-1:0]  sum0;")
        text = text[:place] + function + "\n" + text[place:]
    return re.sub(r"^`default_nettype \w+$", "", text, flags=re.MULTILINE)  # it stands inside modules


def build_model(graph: Any, folding: list[list[int]], part: str) -> Any:
    """The graph as FINN's hardware nodes with their folding, converters and FIFOs."""
    from finn.transformation.fpgadataflow.convert_to_hw.quantized_matrix_vector_activation import (
        InferQuantizedMatrixVectorActivation,
    )
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from finn.transformation.fpgadataflow.minimize_accumulator_width import MinimizeAccumulatorWidth
    from finn.transformation.fpgadataflow.minimize_weight_bit_width import MinimizeWeightBitWidth
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames, SortGraph
    from qonnx.transformation.infer_data_layouts import InferDataLayouts
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    model = integer_model(graph)
    # Thresholds first: a matrix with thresholds in it has no RTL.
    for step in (InferShapes(), InferDataTypes(), InferThresholdingLayer(), InferQuantizedMatrixVectorActivation()):
        model = model.transform(step)
    model = model.transform(InferDataTypes()).transform(InferDataLayouts()).transform(GiveUniqueNodeNames())
    for node in model.graph.node:
        getCustomOp(node).set_nodeattr("preferred_impl_style", "rtl")
    for step in (MinimizeWeightBitWidth(), MinimizeAccumulatorWidth(), InferDataTypes(), RoundAndClipThresholds()):
        model = model.transform(step)
    model = model.transform(InferDataTypes()).transform(SpecializeLayers(part)).transform(GiveUniqueNodeNames())
    for node, numbers in zip(model.graph.node, folding, strict=True):
        operator = getCustomOp(node)
        if len(numbers) == 2:
            operator.set_nodeattr("SIMD", numbers[0])
            operator.set_nodeattr("inFIFODepths", [max(2, operator.get_nodeattr("MW") // numbers[0])])
        operator.set_nodeattr("PE", numbers[-1])
    for step in (InsertDWC(), InsertFIFO(create_shallow_fifos=True), SpecializeLayers(part), SortGraph()):
        model = model.transform(step)
    model = model.transform(GiveUniqueNodeNames()).transform(GiveReadableTensorNames())
    return model.transform(PrepareIP(part, 5.0))


def integer_model(graph: Any) -> Any:
    """MatMul and MultiThreshold nodes on integers, with their types."""
    import numpy as np
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    from toolchain.ir import Dense, Input, Reshape, Threshold

    (source,) = graph.inputs
    size = graph.types[source.name].size
    nodes, tables, types = [], {}, {}
    name, width = "x", size
    types[name] = _type(DataType, graph.types[source.name].element)
    for node in graph.nodes:
        operation, result = node.operation, f"t{len(nodes) + 1}"
        if isinstance(operation, Input | Reshape):
            continue
        if isinstance(operation, Dense):
            weights = operation.weights.astype(np.float32)
            tables[f"w{result}"] = weights
            types[f"w{result}"] = _smallest(DataType, int(weights.min()), int(weights.max()))
            nodes.append(helper.make_node("MatMul", [name, f"w{result}"], [result]))
            width = weights.shape[1]
        elif isinstance(operation, Threshold):
            rows = np.broadcast_to(operation.thresholds, (width, operation.thresholds.shape[1])).astype(np.float32)
            tables[f"w{result}"] = rows
            out = graph.types[node.name].element
            attributes = {"out_dtype": _type(DataType, out).name, "out_bias": float(operation.offset)}
            domain = "qonnx.custom_op.general"
            nodes.append(
                helper.make_node("MultiThreshold", [name, f"w{result}"], [result], domain=domain, **attributes)
            )
            types[f"w{result}"] = _smallest(DataType, int(rows.min()) - 1, int(rows.max()))
            types[result] = _type(DataType, out)
        else:
            raise SystemExit(f"{node}: only Dense and Threshold are written here")
        name = result
    ends = [
        helper.make_tensor_value_info(label, TensorProto.FLOAT, (1, count))
        for label, count in (("x", size), (name, width))
    ]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "network", ends[:1], ends[1:])))
    for label, table in tables.items():
        model.set_initializer(label, table)
    for label, kind in types.items():
        model.set_tensor_datatype(label, kind)
    return model


def _type(data_type: Any, element: Any) -> Any:
    return data_type[f"{'INT' if element.signed else 'UINT'}{element.width}"]


def _smallest(data_type: Any, low: int, high: int) -> Any:
    return data_type["INT" + str(1 + max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length()))]


def stitch(model: Any, folder: Path) -> dict[str, Any]:
    """Join the nodes' streams in `finn_top`; write all sources, corrected, and the memory files into `folder`."""
    from qonnx.custom_op.registry import getCustomOp

    graph = model.graph
    sources: list[Path] = []
    wires: list[str] = []
    instances: list[str] = []
    stream = {graph.input[0].name: "in0_V", graph.output[0].name: "out0_V"}
    (folder / "rtl").mkdir()

    def bus(name: str, bits: int) -> None:
        wires.append(f"wire [{whole_bytes(bits) - 1}:0] {name}_TDATA; wire {name}_TVALID, {name}_TREADY;")

    def joined(port: str, wire: str) -> list[str]:
        return [f".{port}_{part}({wire}_{part})" for part in ("TDATA", "TVALID", "TREADY")]

    for node in graph.node:
        if not node.op_type.endswith("_rtl"):
            raise SystemExit(f"{node.name} ({node.op_type}) is not RTL")
        operator = getCustomOp(node)
        ports = operator.get_verilog_top_module_intf_names()
        for command in operator.code_generation_ipi():
            named = re.match(r"add_files -(?:norecurse|copy_to \S+ -norecurse) (\S+)", command)
            if named:
                sources.append(Path(named[1]))
        sources += [Path(file) for file in operator.get_rtl_file_list(abspath=True) if Path(file).exists()]
        generated = Path(operator.get_nodeattr("code_gen_dir_ipgen"))
        pins = [".ap_clk(ap_clk)", ".ap_rst_n(ap_rst_n)"]
        inputs = [name for name in node.input if model.get_initializer(name) is None]
        for name, (port, _) in zip(inputs, ports["s_axis"], strict=False):
            pins += joined(port, stream[name])
        for name, (port, bits) in zip(node.output, ports["m_axis"], strict=True):
            if name not in stream:
                stream[name] = re.sub(r"\W", "_", name)
                bus(stream[name], bits)
            pins += joined(port, stream[name])
        configuration = "AWVALID AWADDR AWPROT WVALID WDATA WSTRB BREADY ARVALID ARADDR ARPROT RREADY".split()
        if node.op_type.startswith("MVAU"):
            words = f"{node.name}_weights"
            bus(words, operator.get_instream_width(1))
            pins += [*joined("in1_V", words), ".ap_clk2x(ap_clk)"]
            memory = f"{node.name}_memblock.dat"
            shutil.copy(generated / "memblock.dat", folder / memory)
            feed = [".ap_clk(ap_clk)", ".ap_clk2x(ap_clk)", ".ap_rst_n(ap_rst_n)"]
            feed += [f".s_axilite_{pin}('0)" for pin in configuration]
            feed += [".s_axis_0_tvalid(1'b0)", ".s_axis_0_tdata('0)"]
            feed += [f".m_axis_0_{part.lower()}({words}_{part})" for part in ("TDATA", "TVALID", "TREADY")]
            instances.append(
                f'{node.name}_memstream_wrapper #(.INIT_FILE("{memory}")) {node.name}_memory ({", ".join(feed)});'
            )
        if node.op_type.startswith("Thresholding"):
            pins += [f".s_axilite_{pin}('0)" for pin in configuration if not pin.endswith("PROT")]
            pins += [".in1_V_TVALID(1'b0)", ".in1_V_TDATA('0)"]
            for table in generated.glob("*.dat"):
                shutil.copy(table, folder / table.name)
        instances.append(f"{operator.get_nodeattr('gen_top_module')} {node.name} ({', '.join(pins)});")
    first = getCustomOp(model.find_consumer(graph.input[0].name))
    last = getCustomOp(model.find_producer(graph.output[0].name))
    widths = whole_bytes(first.get_instream_width()), whole_bytes(last.get_outstream_width())
    top = [
        "module finn_top (input wire ap_clk, input wire ap_rst_n,",
        f"input wire [{widths[0] - 1}:0] in0_V_TDATA, input wire in0_V_TVALID, output wire in0_V_TREADY,",
        f"output wire [{widths[1] - 1}:0] out0_V_TDATA, output wire out0_V_TVALID, input wire out0_V_TREADY);",
        *wires,
        *instances,
        "endmodule",
    ]
    (folder / "rtl" / "finn_top.sv").write_text("\n".join(top) + "\n")
    names = []
    for source in dict.fromkeys(path.resolve() for path in sources):
        if source.name != "fifo_gauge.sv" and source.suffix in (".sv", ".v"):  # the gauge counts what a FIFO needs
            text = source.read_text()
            # Where FINN's generated folders are is no business of the design: memory files lie beside it.
            text = re.sub(r'"[^"]*/(?=[\w.]*(?:threshs|memblock))', '"', text)
            text = re.sub(r'(THRESHOLDS_PATH\s*=\s*)"[^"]*/([^"/]*)"', r'\1"\2"', text)
            (folder / "rtl" / source.name).write_text(corrected(source.name, text))
            names.append(source.name)
    names.sort(key=lambda name: not name.endswith("_pkg.sv"))
    (folder / "sources.f").write_text("".join(f"rtl/{name}\n" for name in [*names, "finn_top.sv"]))
    return {
        "input_width": widths[0],
        "output_width": widths[1],
        "input_shape": [int(size) for size in first.get_folded_input_shape()],
        "output_shape": [int(size) for size in last.get_folded_output_shape()],
        "input_bits": first.get_input_datatype().bitwidth(),
        "output_bits": last.get_output_datatype().bitwidth(),
        "nodes": {
            node.name: {
                key: getCustomOp(node).get_nodeattr(key)
                for key in ("SIMD", "PE", "depth", "mem_mode", "resType", "inFIFODepths")
                if key in getCustomOp(node).get_nodeattr_types()
            }
            | {"cycles": int(getCustomOp(node).get_exp_cycles())}
            for node in graph.node
        },
    }


def whole_bytes(bits: int) -> int:
    return math.ceil(bits / 8) * 8


def main() -> None:
    saved, folding, part, target = sys.argv[1:]
    folder = Path(target).resolve()
    os.environ["FINN_BUILD_DIR"] = str(folder / "finn")
    (folder / "finn").mkdir(parents=True)
    from finn.util.settings import initialize_dummy_settings

    initialize_dummy_settings()
    import toolchain

    model = build_model(toolchain.load_graph(saved), json.loads(folding), part)
    facts = stitch(model, folder)
    (folder / "facts.json").write_text(json.dumps(facts, default=str))


if __name__ == "__main__":
    main()
