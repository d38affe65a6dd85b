# SPDX-License-Identifier: Apache-2.0
"""Runs FINN in a process of its own, in a folder with request.json and tables.npz: ``python -m toolchain.backends.finn.worker``.

The layers of the request become an integer QONNX model, FINN's own transformations make its hardware graph of it, and the
RTL of each node is written, from a corrected copy of FINN's library (see `overlay`). Left in the folder: model.onnx (QONNX),
hardware.onnx (FINN's hardware graph), rtl/ and memory/ (the sources and what they read), nodes.json (what was made). No tool of
a vendor runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HARDWARE_DOMAIN = "finn.custom_op.fpgadataflow"
_QONNX_DOMAIN = "qonnx.custom_op.general"


def main() -> None:
    import numpy as np

    from toolchain.backends.finn.overlay import make_overlay

    folder = Path.cwd()
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "tables.npz") as stored:
        tables = {name: stored[name] for name in stored.files}
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    say("importing FINN")
    os.environ["FINN_BUILD_DIR"] = str(work)
    # FINN makes a folder for settings in the home folder, which need not be writable, and whose settings are not this build's.
    os.environ["HOME"] = str(work)
    installed = _installed_library()
    os.environ["FINN_RTLLIB"] = str(work / "library")
    corrections = make_overlay(installed, work / "library", without=request.get("without_corrections", []))
    from finn.util.settings import get_settings, initialize_dummy_settings

    initialize_dummy_settings()
    if Path(get_settings().finn_rtllib).resolve() != (work / "library").resolve():
        sys.exit(f"FINN reads its library from {get_settings().finn_rtllib}, not from the corrected copy")
    layers = request["layers"]
    say(f"{len(layers)} layers as QONNX")
    model = integer_model(layers, tables)
    model.save(str(folder / "model.onnx"))
    say("FINN's hardware graph")
    model = hardware_model(model, layers, request["part"])
    say("RTL of each node")
    model = with_rtl(model, request["part"], request["clock_period_ns"])
    model.save(str(folder / "hardware.onnx"))
    nodes = [collect(model, layer, folder) for layer in layers]
    from toolchain.backends.finn import BETWEEN_NODES

    for name in BETWEEN_NODES:
        (source,) = (work / "library").rglob(name)
        shutil.copyfile(source, folder / "rtl" / name)
    whole: dict[str, Any] = {"project": None, "why": "not asked for", "hls": [], "without": {}, "board": ""}
    if (folder / "graph.bitwright").exists():
        from toolchain.backends.finn.whole import write_whole
        from toolchain.ir import load_graph

        say("the whole network in FINN's nodes")
        whole = write_whole(load_graph(folder / "graph.bitwright"), request, folder)
    record = {"corrections": corrections, "nodes": nodes, "whole": whole}
    (folder / "nodes.json").write_text(json.dumps(record, indent=1))
    shutil.rmtree(work)
    say("done")


def say(text: str) -> None:
    print(f"finn worker: {text}", flush=True)


def _installed_library() -> Path:
    from importlib.util import find_spec

    spec = find_spec("finn")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("finn-plus is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "finn-rtllib"


def integer_model(layers: Sequence[Mapping[str, Any]], tables: Mapping[str, Any]) -> Any:
    """Im2Col, MatMul and MultiThreshold nodes on integers, with their types; FINN has no QONNX form of padding alone.

    A layer reads what the layer named `after` gives, or a model input of its own.
    """
    import numpy as np
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    nodes: list[Any] = []
    inputs: list[Any] = []
    outputs: list[Any] = []
    arrays: dict[str, Any] = {}
    types: dict[str, Any] = {}
    windows: dict[str, Any] = {}
    read = {layer["after"] for layer in layers}

    def info(name: str, shape: Sequence[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *shape))

    for layer in layers:
        name, numbers = layer["name"], layer["numbers"]
        before = f"{layer['after']}_out" if layer["after"] else f"{name}_in"
        after = f"{name}_out"
        types.setdefault(before, DataType[layer["source"]])
        if not layer["after"]:
            inputs.append(info(before, layer["input_shape"]))
        if name not in read:
            outputs.append(info(after, layer["output_shape"]))
        if layer["kind"] in ("matrix", "depthwise"):
            arrays[f"{name}_weights"] = tables[name].astype(np.float32)
            if layer["kind"] == "depthwise":
                windows[f"{name}_weights"] = numbers["kernel"]
            types[f"{name}_weights"] = DataType[numbers["weights"]]
            nodes.append(helper.make_node("MatMul", [before, f"{name}_weights"], [after], name=name))
        elif layer["kind"] == "threshold":
            rows = np.broadcast_to(tables[name], (numbers["channels"], tables[name].shape[1])).astype(np.float32)
            arrays[f"{name}_thresholds"] = rows
            types[f"{name}_thresholds"] = _signed_word(DataType, int(rows.min()) - 1, int(rows.max()))
            types[after] = DataType[layer["result"]]
            nodes.append(
                helper.make_node(
                    "MultiThreshold", [before, f"{name}_thresholds"], [after], name=name, domain=_QONNX_DOMAIN,
                    out_dtype=layer["result"], out_bias=float(numbers["bias"]), data_layout="NHWC" if len(layer["input_shape"]) > 1 else "NC",
                )
            )  # fmt: skip
        elif layer["kind"] == "window":
            types[after] = DataType[layer["result"]]
            nodes.append(
                helper.make_node(
                    "Im2Col", [before], [after], name=name, domain=_QONNX_DOMAIN, stride=numbers["stride"],
                    kernel_size=numbers["kernel"], dilations=numbers["dilation"], pad_amount=[0, 0, 0, 0],
                    depthwise=numbers["depthwise"], input_shape=str((1, *layer["input_shape"])),
                )
            )  # fmt: skip
        else:
            types[after] = DataType[layer["result"]]
            nodes.append(
                helper.make_node(
                    "FMPadding", [before], [after], name=name, domain=_HARDWARE_DOMAIN, backend="fpgadataflow",
                    ImgDim=numbers["size"], Padding=numbers["padding"], NumChannels=numbers["channels"], SIMD=numbers["SIMD"],
                    inputDataType=layer["source"],
                )
            )  # fmt: skip
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "network", inputs, outputs)))
    for label, array in arrays.items():
        model.set_initializer(label, array)
    for label, kind in types.items():
        model.set_tensor_datatype(label, kind)
    for label, window in windows.items():
        model.set_tensor_sparsity(label, {"dw": {"kernel_shape": window}})
    return model


def _signed_word(data_type: Any, low: int, high: int) -> Any:
    return data_type["INT" + str(1 + max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length()))]


def hardware_model(model: Any, layers: Sequence[Mapping[str, Any]], part: str) -> Any:
    """FINN's hardware graph: its RTL variants, named as the layers, with their folding and FIFO depths."""
    from finn.transformation.fpgadataflow.convert_to_hw.conv_inp_gen import InferConvInpGen
    from finn.transformation.fpgadataflow.convert_to_hw.quantized_matrix_vector_activation import (
        InferQuantizedMatrixVectorActivation,
    )
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer
    from finn.transformation.fpgadataflow.convert_to_hw.vector_vector_activation import InferVectorVectorActivation
    from finn.transformation.fpgadataflow.minimize_accumulator_width import MinimizeAccumulatorWidth
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.infer_data_layouts import InferDataLayouts
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    # Thresholds first: a matrix with thresholds in it has no RTL.
    for step in (
        InferShapes(), InferDataTypes(), InferThresholdingLayer(), InferConvInpGen(), InferVectorVectorActivation(),
        InferQuantizedMatrixVectorActivation(), InferShapes(), InferDataTypes(), InferDataLayouts(), MinimizeAccumulatorWidth(), InferDataTypes(),
    ):  # fmt: skip
        model = model.transform(step)
    widen_accumulators(model)
    model = model.transform(InferDataTypes()).transform(RoundAndClipThresholds()).transform(InferDataTypes())
    for node in model.graph.node:
        operator = getCustomOp(node)
        operator.set_nodeattr("preferred_impl_style", "rtl")
        if node.op_type == "Thresholding":
            operator.minimize_weight_bit_width(model)
    model = model.transform(SpecializeLayers(part))
    by_output = {node.output[0]: node for node in model.graph.node}
    wrong = []
    for layer in layers:
        node = by_output.get(f"{layer['name']}_out")
        if node is None or not node.op_type.endswith("_rtl"):
            wrong.append(f"{layer['name']} ({layer['kind']}) became {node.op_type if node else 'nothing'}")
            continue
        node.name = layer["name"]
        operator = getCustomOp(node)
        for attribute in ("SIMD", "PE"):
            if attribute in operator.get_nodeattr_types() and attribute in layer["numbers"]:
                operator.set_nodeattr(attribute, layer["numbers"][attribute])
        operator.set_nodeattr("inFIFODepths", [max(2, layer["fifo_depth"])])
    if wrong or len(by_output) != len(layers):
        sys.exit("FINN made other nodes than its RTL has: " + "; ".join(wrong or sorted(by_output)))
    return model


def widen_accumulators(model: Any) -> None:
    """Sums of few small weights can be narrower than a product of any two words, which FINN's RTL refuses."""
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        if node.op_type not in ("MVAU", "VVAU"):
            continue
        operator = getCustomOp(node)
        source = operator.get_input_datatype(0)
        least = operator.get_input_datatype(1).bitwidth() + source.bitwidth() - int(source.signed())
        if operator.get_output_datatype().bitwidth() < least:
            for attribute in ("accDataType", "outputDataType"):
                operator.set_nodeattr(attribute, f"INT{least}")
            model.set_tensor_datatype(node.output[0], DataType[f"INT{least}"])


def with_rtl(model: Any, part: str, clock_period_ns: float) -> Any:
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP

    return model.transform(PrepareIP(part, clock_period_ns))


def collect(model: Any, layer: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Copy the node's sources and memory files to rtl/ and memory/; what an adapter and the report need to know of it."""
    from qonnx.custom_op.registry import getCustomOp

    name = layer["name"]
    node = next(node for node in model.graph.node if node.name == name)
    operator = getCustomOp(node)
    generated = Path(operator.get_nodeattr("code_gen_dir_ipgen"))
    ports = operator.get_verilog_top_module_intf_names()
    sources = [Path(file) for file in operator.get_rtl_file_list(abspath=True)]
    for command in operator.code_generation_ipi():
        named = re.match(r"add_files -(?:norecurse|copy_to \S+ -norecurse) (\S+)", command)
        if named:
            sources.append(Path(named[1]))
    (folder / "rtl").mkdir(exist_ok=True)
    (folder / "memory").mkdir(exist_ok=True)
    files = []
    for source in dict.fromkeys(path.resolve() for path in sources if path.exists()):
        if source.suffix not in (".sv", ".v"):
            continue
        # Where FINN's folders are is no business of the design: memory files lie in memory/, beside rtl/.
        text = source.read_text().replace(f"{generated}/memblock.dat", f"memory/{name}_memblock.dat")
        text = text.replace(f"{generated.resolve()}/memblock.dat", f"memory/{name}_memblock.dat")
        for path in {generated, generated.resolve()}:
            text = text.replace(f'"{path}/', '"memory/')
        text = re.sub(r'(THRESHOLDS_PATH\s*=\s*)"[^"]*?([^"/]*)"', r'\1"memory/\2"', text)
        (folder / "rtl" / source.name).write_text(text)
        files.append(source.name)
    memories = []
    for table in sorted(generated.glob("*.dat")):
        if layer["kind"] == "threshold" and table.name == "memblock.dat":
            continue  # the same again, for a configuration port that is not there
        target = f"{name}_{table.name}" if table.name == "memblock.dat" else table.name
        shutil.copyfile(table, folder / "memory" / target)
        memories.append(target)
    found: dict[str, Any] = {
        "name": name,
        "op_type": node.op_type,
        "module": operator.get_nodeattr("gen_top_module"),
        "files": files,
        "memories": memories,
        "input": _port(ports["s_axis"][0], operator.get_input_datatype(), operator.get_folded_input_shape()),
        "output": _port(ports["m_axis"][0], operator.get_output_datatype(), operator.get_folded_output_shape()),
        "expected_cycles": int(operator.get_exp_cycles()),
    }
    if layer["kind"] in ("matrix", "depthwise"):
        found["weights"] = {
            "module": f"{name}_memstream_wrapper",
            "width": _whole_bytes(operator.get_instream_width(1)),
        }
    return found


def _port(port: Sequence[Any], kind: Any, folded: Sequence[int]) -> dict[str, Any]:
    return {
        "port": port[0],
        "width": _whole_bytes(int(port[1])),
        "element_width": kind.bitwidth(),
        "signed": bool(kind.signed()),
        "lanes": int(folded[-1]),
        "beats": int(_product(folded[:-1])),
    }


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= int(size)
    return result


def _whole_bytes(bits: int) -> int:
    return -(-bits // 8) * 8


if __name__ == "__main__":
    main()
