# SPDX-License-Identifier: Apache-2.0
"""The whole network in FINN's own nodes, for people who have AMD's tools: used by the worker, imports FINN.

What is written: hls/<node>/ (the HLS C++ of the nodes that FINN has in HLS) and project/ (the integer QONNX model, folding and
FIFO depths, and the configuration with which FINN builds its stitched IP and driver: ``finn build build.yml model.onnx``).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_QONNX_DOMAIN = "qonnx.custom_op.general"
_HARDWARE_DOMAIN = "finn.custom_op.fpgadataflow"
#: FINN's own steps from an integer model on; it is streamlined as it comes.
STEPS = (
    "step_convert_to_hw", "step_create_dataflow_partition", "step_specialize_layers", "step_apply_folding_config",
    "step_minimize_bit_width", "step_generate_estimate_reports", "step_generate_hardware", "step_create_stitched_ip",
)  # fmt: skip
_BOARD_STEPS = ("step_prepare_synthesis", "step_synthesize_bitfile", "step_make_driver", "step_deployment_package")


class NotExpressible(Exception):
    """An operation that FINN has no node for; names it."""


def write_whole(graph: Any, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write hls/ and project/; returns what nodes.json says of them: the nodes, or why there is no project."""
    try:
        model = whole_model(graph)
    except NotExpressible as error:
        return {"project": None, "why": str(error), "hls": []}
    project = folder / "project"
    project.mkdir(exist_ok=True)
    model.save(str(project / "model.onnx"))
    hardware = hardware_of(model, request["part"])
    left = [f"{node.name} ({node.op_type})" for node in hardware.graph.node if not _is_hardware(node)]
    if left:
        shutil.rmtree(project)
        return {"project": None, "why": f"FINN converts no {', '.join(left)} to hardware", "hls": []}
    set_folding(hardware, request["stages"])
    (project / "folding.json").write_text(json.dumps(folding_of(hardware), indent=1))
    board = _board_of(request["part"])
    (project / "build.yml").write_text(_configuration(request, board))
    hls = write_hls(hardware, request, folder / "hls")
    return {"project": "project", "why": "", "hls": hls, "board": board}


def whole_model(graph: Any) -> Any:
    """The graph as MatMul, MultiThreshold, Im2Col, pooling and the like on integers, channels last."""
    import numpy as np
    from onnx import TensorProto, helper
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    from toolchain.backends.finn.layers import finn_shape
    from toolchain.passes.folding_model import is_depthwise

    nodes: list[Any] = []
    arrays: dict[str, Any] = {}
    types: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    indices: set[str] = set()
    tensors = {node.name: f"t{number}" for number, node in enumerate(graph.nodes)}

    def word(element: Any) -> Any:
        signed = element.minimum < 0
        width = max(
            2,
            1 + max((-element.minimum - 1).bit_length(), element.maximum.bit_length())
            if signed
            else element.maximum.bit_length(),
        )
        return DataType[f"{'INT' if signed else 'UINT'}{width}"]

    def constant(name: str, values: Any, kind: Any = None) -> str:
        arrays[name] = np.asarray(values)
        if kind is not None:
            types[name] = kind
        return name

    def add(kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> None:
        nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{output}_{kind}", domain=domain, **attributes)
        )

    for node in graph.nodes:
        operation, out = node.operation, tensors[node.name]
        inputs = [tensors[name] for name in node.inputs]
        before = graph.input_types(node)
        result = graph.types[node.name]
        shapes[out] = (1, *finn_shape(result.shape))
        types[out] = word(result.element)
        kind = operation.kind
        if kind == "input":
            continue
        if kind == "reshape":
            shape = constant(f"{out}_shape", np.array(shapes[out], np.int64))
            add("Reshape", [inputs[0], shape], out)
        elif kind == "dense" or (kind == "conv" and not is_depthwise(operation)):
            source = inputs[0]
            weights = operation.weights
            if kind == "conv":
                if operation.groups != 1:
                    raise NotExpressible(f"{node}: FINN has no convolution in groups but depthwise")
                window, strides, dilation = (
                    _two(values) for values in (operation.window, operation.strides, operation.dilation)
                )
                weights = weights.reshape(-1, weights.shape[-1])
                if window != [1, 1] or strides != [1, 1]:
                    source = f"{out}_windows"
                    shapes[source] = (*shapes[out][:-1], weights.shape[0])
                    types[source] = types[inputs[0]]
                    add(
                        "Im2Col", [inputs[0]], source, _QONNX_DOMAIN, stride=strides, kernel_size=window, dilations=dilation,
                        pad_amount=[0, 0, 0, 0], input_shape=str(shapes[inputs[0]]),
                    )  # fmt: skip
            limit = int(np.abs(weights.astype(object)).max())
            matrix = constant(
                f"{out}_weights", weights.astype(np.float32), DataType[f"INT{max(2, 1 + limit.bit_length())}"]
            )
            add("MatMul", [source, matrix], out)
        elif kind == "threshold":
            table, bias, types[out] = _canonical_thresholds(operation, before[0], result, DataType)
            rows = constant(f"{out}_thresholds", table.astype(np.float32))
            types[rows] = _spanning(DataType, int(table.min()) - 1, int(table.max()))
            layout = "NHWC" if len(shapes[out]) == 4 else "NC"
            add(
                "MultiThreshold",
                [inputs[0], rows],
                out,
                _QONNX_DOMAIN,
                out_dtype=types[out].name,
                out_bias=float(bias),
                data_layout=layout,
            )
        elif kind == "pad" and operation.value == 0 and not any(operation.widths[-1]) and len(result.shape) == 3:
            (top, bottom), (left, right), _ = operation.widths
            add(
                "FMPadding", inputs, out, _HARDWARE_DOMAIN, backend="fpgadataflow", ImgDim=list(shapes[inputs[0]][1:3]),
                Padding=[top, left, bottom, right], NumChannels=result.channels, SIMD=1, inputDataType=types[inputs[0]].name,
            )  # fmt: skip
        elif kind == "max_pool" and set(operation.steps) == {1}:
            add(
                "MaxPoolNHWC", inputs, out, _QONNX_DOMAIN, kernel_shape=_two(operation.window), strides=_two(operation.strides),
                pads=[0, 0, 0, 0],
            )  # fmt: skip
        elif kind == "add_bias":
            shift, bias_shift = operation.shifts(before[0].element)
            if shift:
                raise NotExpressible(f"{node}: FINN adds no bias with a finer binary point than the sums")
            values = operation.bias.astype(np.int64) << bias_shift
            add(
                "Add",
                [
                    inputs[0],
                    constant(
                        f"{out}_bias",
                        values.astype(np.float32),
                        _spanning(DataType, int(values.min()), int(values.max())),
                    ),
                ],
                out,
            )
        elif (
            kind == "add"
            and before[0].element.fraction == before[1].element.fraction
            and not getattr(operation, "subtract", False)
        ):
            add("Add", inputs, out)
        elif (
            kind == "concatenate"
            and operation.axis == len(result.shape) - 1
            and len({t.element.fraction for t in before}) == 1
        ):
            add("Concat", inputs, out, axis=len(shapes[out]) - 1)
        elif kind == "argmax":
            k = constant(f"{out}_k", np.array([1], np.int64))
            nodes.append(helper.make_node("TopK", [inputs[0], k], [f"{out}_values", out], name=f"{out}_TopK", axis=-1))
            shapes[f"{out}_values"] = shapes[out]
            indices.add(out)
        else:
            raise NotExpressible(f"{node}: FINN has no node for operation {kind!r} as it is here")
    source, sink = tensors[graph.inputs[0].name], tensors[graph.outputs[0].tensor]

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(
            name, TensorProto.INT64 if name in indices else TensorProto.FLOAT, shapes[name]
        )

    inner = [info(name) for name in shapes if name not in (source, sink)]
    model = ModelWrapper(
        helper.make_model(
            helper.make_graph(nodes, "network", [info(source)], [info(sink)], value_info=inner),
            opset_imports=[
                helper.make_opsetid(domain, version)
                for domain, version in (("", 18), (_QONNX_DOMAIN, 1), (_HARDWARE_DOMAIN, 1))
            ],
        )
    )
    for label, array in arrays.items():
        model.set_initializer(label, array)
    for label, kind_ in types.items():
        model.set_tensor_datatype(label, kind_)
    for label, sizes in shapes.items():
        if len(sizes) == 4:
            model.set_tensor_layout(label, ["N", "H", "W", "C"])
    return model


def _two(values: Sequence[int]) -> list[int]:
    """One entry for rows and columns of one for each spatial axis."""
    return [1] * (2 - len(values)) + [int(value) for value in values]


def _spanning(data_type: Any, low: int, high: int) -> Any:
    return data_type["INT" + str(max(2, 1 + max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length())))]


def _canonical_thresholds(operation: Any, before: Any, result: Any, data_type: Any) -> tuple[Any, int, Any]:
    from toolchain.backends.finn.layers import canonical_thresholds

    table, lowest, kind = canonical_thresholds(operation, before.element, result.element)
    if len(table) == 1:
        import numpy as np

        table = np.broadcast_to(table, (result.channels, table.shape[1]))
    return table, lowest, data_type[kind.finn_name]


def hardware_of(model: Any, part: str) -> Any:
    """FINN's hardware graph of the whole network, RTL variants preferred."""
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
    from finn.transformation.fpgadataflow.convert_to_hw.reshape import InferReshape
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    for step in (
        InferThresholdingLayer(), InferQuantizedMatrixVectorActivation(), InferLabelSelectLayer(), InferPool(), InferConvInpGen(),
        InferConcatLayer(), InferElementwiseBinaryOperation(), InferReshape(), InferDuplicateStreamsLayer(), InferShapes(),
        InferDataTypes(), SortGraph(),
    ):  # fmt: skip
        model = model.transform(step)
    for node in model.graph.node:
        if _is_hardware(node):
            getCustomOp(node).set_nodeattr("preferred_impl_style", "rtl")
    if all(_is_hardware(node) for node in model.graph.node):
        model = model.transform(SpecializeLayers(part))
    return model.transform(GiveUniqueNodeNames())


def _is_hardware(node: Any) -> bool:
    return node.domain.startswith("finn.custom_op.fpgadataflow")


def set_folding(model: Any, stages: Mapping[str, Mapping[str, int]]) -> None:
    """SIMD and PE of the stage whose result a node gives, as far as its sizes allow them."""
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        # Names of tensors are those of the graph's nodes, and of what stands before them.
        stage = stages.get(node.output[0].split("_")[0])
        following = model.find_consumer(node.output[0])
        if stage is None and following is not None:
            stage = stages.get(following.output[0].split("_")[0])
        if stage is None:
            continue
        operator = getCustomOp(node)
        for attribute, value in (("SIMD", stage["simd"]), ("PE", stage["pe"])):
            if attribute in operator.get_nodeattr_types():
                wide = stage["simd"] if node.op_type.startswith("LabelSelect") else value
                size = next(
                    (
                        operator.get_nodeattr(name)
                        for name in _SIZES[attribute]
                        if name in operator.get_nodeattr_types()
                    ),
                    1,
                )
                operator.set_nodeattr(attribute, wide if size % wide == 0 else 1)


#: The attribute whose value SIMD or PE has to divide.
_SIZES = {"SIMD": ("MW", "IFMChannels", "NumChannels"), "PE": ("MH", "Channels", "NumChannels", "Labels")}


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


def write_hls(model: Any, request: Mapping[str, Any], folder: Path) -> list[str]:
    """The C++ of the nodes that FINN has in HLS, and the script that its HLS tool runs. Returns their names."""
    from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
    from qonnx.custom_op.registry import getCustomOp

    model = model.transform(PrepareIP(request["part"], request["clock_period_ns"]))
    written = []
    for node in model.graph.node:
        if not node.op_type.endswith("_hls"):
            continue
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


def _configuration(request: Mapping[str, Any], board: str) -> str:
    """FINN's build configuration as YAML."""
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
        "auto_fifo_depths: true",
        "generate_outputs:",
        *(f"  - {output}" for output in outputs),
        "steps:",
        *(f"  - {step}" for step in steps),
    ]
    return "\n".join(lines) + "\n"
