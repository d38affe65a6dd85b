# SPDX-License-Identifier: Apache-2.0
"""The whole network in FINN's own nodes, for people who have AMD's tools: used by the worker, imports FINN.

What is written: hls/<node>/ (the HLS C++ of the nodes that FINN has in HLS, also where FINN lacks others) and, if FINN has a node for
every operation, project/: the integer QONNX model (network.onnx), FINN's hardware graph of it (model.onnx), folding, FIFO depths as
they were verified, and the configuration with which FINN builds its stitched IP and driver: ``finn build build.yml model.onnx``.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.backends.finn.whole_model import whole_model

#: FINN's own steps from a hardware graph on.
STEPS = (
    "step_create_dataflow_partition", "step_specialize_layers", "step_apply_folding_config", "step_generate_estimate_reports",
    "step_generate_hardware", "step_create_stitched_ip",
)  # fmt: skip
_BOARD_STEPS = ("step_prepare_synthesis", "step_synthesize_bitfile", "step_make_driver", "step_deployment_package")
LOG = "whole.log"


def write_whole(graph: Any, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write hls/ and project/; returns what nodes.json says of them: the nodes, and why something is not there.

    project: its folder, or None. why: there is none. hls: the nodes with C++. without: name of a node of the graph -> why FINN has
    none for it. An error in FINN's transformations is not one of the build: `why` says so, and the log has it.
    """
    found: dict[str, Any] = {"project": None, "why": "", "hls": [], "without": {}, "board": ""}
    try:
        _write(graph, request, folder, found)
    except Exception as error:
        (folder / LOG).write_text(traceback.format_exc())
        found["why"] = f"{type(error).__name__} in FINN's transformations of the whole network ({LOG} has all of it)"
    return found


def _write(graph: Any, request: Mapping[str, Any], folder: Path, found: dict[str, Any]) -> None:
    model, found["without"] = whole_model(graph)
    if not model.graph.node:
        found["why"] = "; ".join(found["without"].values())
        return
    abstract = hardware_of(model)
    left = [
        f"{node.name} ({node.op_type}): FINN made no hardware node of it"
        for node in abstract.graph.node
        if not _is_hardware(node)
    ]
    hardware = specialised(abstract, request["part"])
    set_folding(hardware, request["stages"])
    set_depths(hardware, request["depths"])
    reasons = [*found["without"].values(), *left]
    if reasons:
        found["why"] = "; ".join(reasons)
    else:
        project = folder / "project"
        project.mkdir()
        model.save(str(project / "network.onnx"))
        abstract.save(str(project / "model.onnx"))
        (project / "folding.json").write_text(json.dumps(folding_of(hardware), indent=1))
        (project / "fifos.json").write_text(json.dumps(fifos_of(hardware, request["part"]), indent=1))
        found["board"] = _board_of(request["part"])
        (project / "build.yml").write_text(_configuration(request, hardware, found["board"]))
        found["project"] = "project"
    found["hls"] = write_hls(hardware, request, folder / "hls")


def hardware_of(model: Any) -> Any:
    """FINN's hardware graph of the whole network, RTL variants preferred, with sums as wide as they get.

    FINN's own builder would narrow the weights too, and its matrix unit would then not be RTL on every part.
    """
    from finn.transformation.fpgadataflow.convert_to_hw.concat import InferConcatLayer
    from finn.transformation.fpgadataflow.convert_to_hw.conv_inp_gen import InferConvInpGen
    from finn.transformation.fpgadataflow.convert_to_hw.duplicate_streams import InferDuplicateStreamsLayer
    from finn.transformation.fpgadataflow.convert_to_hw.elementwise_binary_operation import (
        InferElementwiseBinaryOperation,
    )
    from finn.transformation.fpgadataflow.convert_to_hw.label_select import InferLabelSelectLayer
    from finn.transformation.fpgadataflow.convert_to_hw.pool import InferPool
    from finn.transformation.fpgadataflow.convert_to_hw.quantized_matrix_vector_activation import (
        InferQuantizedMatrixVectorActivation,
    )
    from finn.transformation.fpgadataflow.convert_to_hw.relu_as_elementwise_max import InferReLUAsElementwiseMax
    from finn.transformation.fpgadataflow.convert_to_hw.reshape import InferReshape
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer
    from finn.transformation.fpgadataflow.convert_to_hw.vector_vector_activation import InferVectorVectorActivation
    from finn.transformation.fpgadataflow.minimize_accumulator_width import MinimizeAccumulatorWidth
    from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import SortGraph
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    from toolchain.backends.finn.worker import widen_accumulators

    for step in (
        InferThresholdingLayer(), InferQuantizedMatrixVectorActivation(), InferVectorVectorActivation(), InferLabelSelectLayer(),
        InferPool(), InferConvInpGen(), InferConcatLayer(), InferElementwiseBinaryOperation(), InferReLUAsElementwiseMax(),
    ):  # fmt: skip
        model = model.transform(step)
    # FINN doubles the first of a model's inputs only; where FINN lacks an operation, there are others.
    for source in [entry.name for entry in model.graph.input]:
        _put_first(model, source)
        model = model.transform(InferDuplicateStreamsLayer())
    for step in (InferReshape(), InferShapes(), InferDataTypes(), MinimizeAccumulatorWidth(), InferDataTypes()):
        model = model.transform(step)
    widen_accumulators(model)
    for step in (InferDataTypes(), RoundAndClipThresholds(), InferDataTypes(), SortGraph()):
        model = model.transform(step)
    for node in model.graph.node:
        if _is_hardware(node):
            operator = getCustomOp(node)
            operator.set_nodeattr("preferred_impl_style", "rtl")
            if node.op_type == "Thresholding":
                operator.minimize_weight_bit_width(model)
    return model


def specialised(model: Any, part: str) -> Any:
    """The hardware graph with each node's RTL or HLS variant for a part, named as FINN's builder names them."""
    from copy import deepcopy

    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.transformation.general import GiveUniqueNodeNames

    return deepcopy(model).transform(SpecializeLayers(part)).transform(GiveUniqueNodeNames())


def _put_first(model: Any, source: str) -> None:
    entries = sorted(model.graph.input, key=lambda entry: entry.name != source)
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del model.graph.input[:]
    model.graph.input.extend(copies)


def _is_hardware(node: Any) -> bool:
    return bool(node.domain.startswith("finn.custom_op.fpgadataflow"))


#: Attributes that hold what SIMD or PE has to divide; of several channels each, of a shape its last axis.
_SIZES = {
    "SIMD": ("MW", "IFMChannels", "NumChannels", "ChannelsPerStream"),
    "PE": ("MH", "Channels", "NumChannels", "Labels", "out_shape"),
}


def _stage(tensor: str) -> str:
    """The graph's node that a tensor belongs to: names are those of its results, and of what stands before them."""
    return tensor.split("_")[0]


def set_folding(model: Any, stages: Mapping[str, Mapping[str, int]]) -> None:
    """SIMD and PE of the stage whose result a node gives, as far as its sizes allow them.

    stages: t<number of the graph's node> -> its folding.
    """
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        if not _is_hardware(node):
            continue
        duplicates = node.op_type.startswith("DuplicateStreams")
        stage = stages.get(_stage(node.input[0] if duplicates else node.output[0]))
        if stage is None:
            continue
        operator = getCustomOp(node)
        known = operator.get_nodeattr_types()
        labels = node.op_type.startswith("LabelSelect")
        for attribute, wide in (("SIMD", stage["simd"]), ("PE", stage["simd"] if labels else stage["pe"])):
            if attribute not in known:
                continue
            name = next((name for name in _SIZES[attribute] if name in known), None)
            sizes: Any = operator.get_nodeattr(name) if name else 1
            if name == "out_shape":
                sizes = sizes[-1]
            divided = [sizes] if isinstance(sizes, int) else list(sizes)
            operator.set_nodeattr(attribute, wide if all(int(size) % wide == 0 for size in divided) else 1)


def set_depths(model: Any, depths: Mapping[str, Mapping[str, int]]) -> None:
    """Depths of the FIFOs before the nodes, and behind forks.

    depths: t<number of the reader's node>:<operand> -> beats 'before' the reader, and of its 'branch' behind a fork.
    """
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        if not _is_hardware(node) or node.op_type.startswith("DuplicateStreams"):
            continue
        streams = [name for name in node.input if model.get_initializer(name) is None]
        before = []
        for place, name in enumerate(streams):
            writer = model.find_producer(name)
            inside = writer is not None and _stage(writer.output[0]) == _stage(node.output[0])
            depth = {} if inside else depths.get(f"{_stage(node.output[0])}:{place}", {})
            before.append(depth.get("before", 2))
            behind_fork = name
            while writer is not None and writer.op_type.startswith("Reshape"):
                behind_fork = writer.input[0]
                writer = model.find_producer(behind_fork)
            if writer is not None and writer.op_type.startswith("DuplicateStreams") and "branch" in depth:
                fork = getCustomOp(writer)
                behind = list(fork.get_nodeattr("outFIFODepths"))
                behind[list(writer.output).index(behind_fork)] = depth["branch"]
                fork.set_nodeattr("outFIFODepths", behind)
        getCustomOp(node).set_nodeattr("inFIFODepths", before)
    for sink in model.graph.output:
        last = model.find_producer(sink.name)
        if "output" in depths and _is_hardware(last) and not last.op_type.startswith("DuplicateStreams"):
            getCustomOp(last).set_nodeattr("outFIFODepths", [depths["output"]["before"]])


def folding_of(model: Any) -> dict[str, Any]:
    """FINN's folding configuration of the nodes."""
    from qonnx.custom_op.registry import getCustomOp

    found: dict[str, Any] = {"Defaults": {}}
    for node in model.graph.node:
        operator = getCustomOp(node)
        known = operator.get_nodeattr_types()
        found[node.name] = {
            name: operator.get_nodeattr(name)
            for name in ("SIMD", "PE", "inFIFODepths", "outFIFODepths")
            if name in known
        }
    return json.loads(json.dumps(found, default=list))  # type: ignore[no-any-return]


def fifos_of(model: Any, part: str) -> dict[str, Any]:
    """FINN's FIFO configuration: each FIFO that FINN inserts into this hardware graph, with its depth."""
    from copy import deepcopy

    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import GiveUniqueNodeNames

    model = deepcopy(model)
    for step in (InsertDWC(), InsertFIFO(create_shallow_fifos=True), SpecializeLayers(part), GiveUniqueNodeNames()):
        model = model.transform(step)
    found: dict[str, dict[str, Any]] = {"fifo_depths": {}, "impl_style": {}, "ram_style": {}}
    for node in model.get_nodes_by_op_type("StreamingFIFO_rtl"):
        operator = getCustomOp(node)
        for key, attribute in (("fifo_depths", "depth"), ("impl_style", "impl_style"), ("ram_style", "ram_style")):
            found[key][node.name] = operator.get_nodeattr(attribute)
    return found


def write_hls(model: Any, request: Mapping[str, Any], folder: Path) -> list[str]:
    """The C++ of the nodes that FINN has in HLS, and the script that its HLS tool runs. Returns their names."""
    from finn.transformation.fpgadataflow.prepare_ip import _codegen_single_node
    from qonnx.custom_op.registry import getCustomOp

    written = []
    for node in model.graph.node:
        if not node.op_type.endswith("_hls"):
            continue
        _codegen_single_node(node, model, request["part"], request["clock_period_ns"])
        generated = Path(getCustomOp(node).get_nodeattr("code_gen_dir_ipgen"))
        target = folder / node.name
        target.mkdir(parents=True)
        for path in sorted(generated.iterdir()):
            if path.suffix in (".cpp", ".hpp", ".h", ".tcl"):
                text = path.read_text(errors="surrogateescape")
                # Run where the files are; where FINN's HLS libraries lie, the person who runs it knows.
                text = text.replace(f'"{generated}"', '"."').replace(f"{generated}/", "")
                text = re.sub(r'"[^"]*/finn_deps/', '"$::env(FINN_DEPS)/', text)
                (target / path.name).write_text(text, errors="surrogateescape")
        written.append(f"{node.name} ({node.op_type})")
    return written


def _board_of(part: str) -> str:
    """FINN's name of a board with this part; '' if it knows none."""
    from finn.util.basic import part_map

    return next((board for board, its_part in part_map.items() if its_part == part), "")


def _configuration(request: Mapping[str, Any], hardware: Any, board: str) -> str:
    """FINN's build configuration as YAML."""
    forks = any(node.op_type.startswith("DuplicateStreams") for node in hardware.graph.node)
    depths = ["auto_fifo_depths: false", "fifo_config_file: fifos.json"]
    if forks:
        # Whether a network with branches stands still depends on what its nodes hold.
        depths = [
            "# The depths beside branches were verified with other kernels than FINN's HLS nodes: FINN finds its own.",
            "# Without its simulation: auto_fifo_depths: false and fifo_config_file: fifos.json",
            "auto_fifo_depths: true",
        ]
    steps = [*STEPS, *(_BOARD_STEPS if board else ())]
    outputs = ["estimate_reports", "stitched_ip", *(["bitfile", "pynq_driver", "deployment_package"] if board else [])]
    lines = [
        "# Run in this folder, with AMD's tools on PATH: finn build build.yml model.onnx",
        "output_dir: output",
        f"synth_clk_period_ns: {request['clock_period_ns']}",
        f"board: {board}" if board else f"fpga_part: {request['part']}",
        *(["shell_flow_type: vivado_zynq"] if board else []),
        "folding_config_file: folding.json",
        "standalone_thresholds: true",
        *depths,
        "generate_outputs:",
        *(f"  - {output}" for output in outputs),
        "steps:",
        *(f"  - {step}" for step in steps),
    ]
    return "\n".join(lines) + "\n"
