# SPDX-License-Identifier: Apache-2.0
"""Which of hls4ml's own layers are exact with which option, each compiled and compared alone; writes the table of docs/hls4ml.md."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import numpy as np

from benchmarks.common import ROOT, Row, version
from toolchain.backends.hls4ml import plan
from toolchain.backends.hls4ml.own import own_layer
from toolchain.build.tools.hls4ml import compile_csim, open_csim
from toolchain.ir import (
    Add,
    ArgMax,
    Concatenate,
    Conv,
    Dense,
    GraphBuilder,
    Input,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Rounding,
    Scale,
    Slice,
    SumPool,
    TensorType,
    Threshold,
    TopK,
    Transpose,
    Upsample,
    interpret,
)
from toolchain.target import Target

DOCUMENT = ROOT / "docs" / "hls4ml.md"
VECTORS = 200
IO_TYPES = ("io_parallel", "io_stream")
#: One of each sort of C++ that hls4ml's own layers have: vivado_accelerator has vivado's, to the byte.
FLOWS = ("vitis", "vivado")
_BEGIN, _END = "<!-- table: made by `make bench BENCH=hls4ml_layers` -->", "<!-- end of table -->"
_FOUR, _FIVE = IntegerType(True, 4, 1), IntegerType(False, 5, 3)

Case = tuple[str, Operation, tuple[TensorType, ...]]


def cases() -> Iterator[Case]:
    """(option, operation, types): every layer with the options that decide whether hls4ml's own layer can do it."""
    random = np.random.default_rng(9)
    image, line = TensorType((6, 7, 2), _FOUR), TensorType((9, 3), _FIVE)

    def weights(*shape: int) -> np.ndarray:
        return random.integers(-8, 8, shape)

    yield "vector", Dense(weights(6, 4), 2), (TensorType((6,), _FOUR),)
    yield "rows of channels", Dense(weights(3, 4), 2), (TensorType((5, 3), _FOUR),)
    for rank, x in ((1, line), (2, image)):
        ones, channels = (1,) * rank, x.channels
        threes = (3,) * rank
        yield f"{rank}D", Conv(weights(*threes, channels, 4), ones, ones), (x,)
        yield f"{rank}D, window of one element", Conv(weights(*ones, channels, 4), ones, ones), (x,)
        yield f"{rank}D, strides", Conv(weights(*threes, channels, 4), (2,) * rank, ones), (x,)
        yield f"{rank}D, strides beyond the window", Conv(weights(*(2,) * rank, channels, 4), (3,) * rank, ones), (x,)
        yield f"{rank}D, dilation", Conv(weights(*(2,) * rank, channels, 4), ones, (2,) * rank), (x,)
        yield f"{rank}D, depthwise", Conv(weights(*threes, 1, channels), ones, ones, channels), (x,)
        yield (
            f"{rank}D, depthwise, two outputs a channel",
            Conv(weights(*threes, 1, 2 * channels), ones, ones, channels),
            (x,),
        )
    yield "2D, window of one row, strides", Conv(weights(1, 3, 2, 4), (2, 1), (1, 1)), (image,)
    yield "2D, window of one column, strides", Conv(weights(3, 1, 2, 4), (1, 2), (1, 1)), (image,)
    yield "2D, two groups", Conv(weights(3, 3, 2, 4), (1, 1), (1, 1), 2), (TensorType((6, 7, 4), _FOUR),)
    for kind in (MaxPool, SumPool):
        yield "1D", kind((3,), (2,)), (line,)
        yield "2D", kind((2, 2), (2, 2)), (image,)
        yield "2D, windows that overlap", kind((3, 2), (1, 1)), (image,)
        yield "2D, strides beyond the window", kind((2, 2), (3, 3)), (image,)
        yield "global", kind((6, 7), (1, 1)), (image,)
    yield "dilation", MaxPool((2, 2), (1, 1), (2, 2)), (image,)
    small, other = TensorType((2, 3, 4), _FOUR), TensorType((2, 3, 4), _FIVE)
    for label, operation in (("add", Add()), ("subtract", Add(True)), ("multiply", Multiply())):
        yield f"{label}, equal shapes", operation, (small, other)
        yield f"{label}, one operand repeated along the first axes", operation, (small, TensorType((1, 1, 4), _FIVE))
        yield f"{label}, one operand repeated along the channels", operation, (small, TensorType((2, 3, 1), _FIVE))
        yield f"{label}, both repeated", operation, (TensorType((1, 3, 1), _FOUR), TensorType((2, 1, 4), _FIVE))
    for axis in range(3):
        yield f"axis {axis} of 3, other binary points", Concatenate(axis), (small, other)
    yield "channels, three operands", Concatenate(2), (small, other, small)
    yield "zeros, 1D", Pad(((1, 2), (0, 0))), (line,)
    yield "zeros, 2D", Pad(((1, 2), (0, 1), (0, 0))), (image,)
    yield "zeros among the channels", Pad(((0, 0), (0, 0), (1, 1))), (image,)
    yield "another value", Pad(((1, 1), (1, 1), (0, 0)), -3), (image,)
    yield "1D", Upsample((2, 1)), (line,)
    yield "2D", Upsample((2, 3, 1)), (image,)
    yield "channels", Upsample((1, 1, 2)), (image,)
    yield "crop, 1D", Slice((1, 0), (7, 3), (1, 1)), (line,)
    yield "crop, 2D", Slice((1, 2, 0), (5, 6, 2), (1, 1, 1)), (image,)
    yield "steps", Slice((0, 0, 0), (6, 7, 2), (2, 1, 1)), (image,)
    yield "some channels", Slice((0, 0, 1), (6, 7, 2), (1, 1, 1)), (image,)
    yield "matrix", Transpose((1, 0)), (line,)
    yield "channels first", Transpose((2, 0, 1)), (image,)
    yield "plain", Relu(), (line,)
    yield "bounded", Relu(None, 5), (line,)
    yield "leaky", Relu(2), (TensorType((4,), _FOUR),)
    narrow = IntegerType(True, 3, 0)
    yield "a mode that ap_fixed has", Requantise(narrow, Rounding.HALF_EVEN, Overflow.SATURATE), (line,)
    yield "rounding that ap_fixed has not", Requantise(narrow, Rounding.CEILING, Overflow.SATURATE), (line,)
    yield (
        "an interval that is not the word's",
        Requantise(IntegerType(True, 3, 0, -2, 1), overflow=Overflow.SATURATE),
        (line,),
    )
    yield "", Threshold(np.array([[-3, 0, 4]])), (TensorType((4,), _FOUR),)
    yield "", Lookup(weights(1, 16), -8), (TensorType((4,), _FOUR),)
    yield "", Scale(weights(3)), (line,)
    yield "", ArgMax(), (line,)
    yield "", TopK(2), (line,)
    yield "", InsertZeros((2, 2, 1)), (image,)


@dataclass(frozen=True)
class Outcome:
    """status: 'equal', 'wrong' or why nothing could be compared. kind: hls4ml's name of the layer, '' if there is none."""

    status: str
    kind: str = ""


def outcomes(chosen: Sequence[Case], flow: str, io_type: str, own_layers: str) -> list[Outcome]:
    """Every case between inputs and an output of its own, all in one project; those that do not get on in two, and so on."""
    builder = GraphBuilder("cases")
    for number, (_, operation, types) in enumerate(chosen):
        inputs = [builder.add(Input(t.shape, t.element), name=f"x {number} {i}") for i, t in enumerate(types)]
        builder.output(builder.add(operation, *inputs, name=f"y {number}"), name=f"out {number}")
    graph = builder.build()
    random = np.random.default_rng(4)
    batch = {
        node.name: random.integers(
            node.operation.element.minimum, node.operation.element.maximum + 1, (VECTORS, *node.operation.shape)
        )
        for node in graph.inputs
    }
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            made = plan(graph, Target(), io_type, flows=[flow], own_layers=own_layers)
            kinds = {layer["node"]: layer["kind"] for layer in made.facts["layers"]}
            made.write(folder)
            library = compile_csim(
                folder, made.facts, folder / "csim.so", log=folder / "log", flow=flow, optimisation="-O0", jobs=1
            )
            expected = interpret(graph, batch)
            with open_csim(library.path, folder, made.facts, flow) as csim:
                found = csim.run(batch)
    except Exception as error:  # whatever hls4ml or the compiler says is the outcome
        if len(chosen) == 1:
            return [Outcome(f"fails: {shorten(str(error).splitlines()[0], 70, placeholder=' ...')}")]
        half = len(chosen) // 2
        return [
            *outcomes(chosen[:half], flow, io_type, own_layers),
            *outcomes(chosen[half:], flow, io_type, own_layers),
        ]
    names = [f"y {number}" for number in range(len(chosen))]
    return [Outcome("equal" if np.array_equal(found[n], expected[n]) else "wrong", kinds[n]) for n in names]


def own_outcomes(chosen: Sequence[Case], flow: str, io_type: str) -> list[Outcome | None]:
    """The same with hls4ml's own layers wherever there is one; None where there is none."""
    found: dict[int, Outcome] = {}
    groups: dict[str, list[int]] = {"": [], "DepthwiseConv1D": [], "refused": []}
    for number, (_, operation, types) in enumerate(chosen):
        own = own_layer(operation, types, operation.infer(*types), stream=io_type == "io_stream")
        if own is None:
            continue
        # What hls4ml itself refuses, and what cannot be compiled next to others, goes apart: that saves compilations.
        repeats = len(types) == 2 and types[0].shape != types[1].shape and not isinstance(operation, Concatenate)
        groups["refused" if repeats else own.kind if own.kind in groups else ""].append(number)
    for label, numbers in groups.items():
        parts = [[number] for number in numbers] if label == "refused" and io_type == "io_stream" else [numbers]
        for part in parts:
            if part:
                results = outcomes([chosen[number] for number in part], flow, io_type, "always")
                found.update(zip(part, results, strict=True))
    return [found.get(number) for number in range(len(chosen))]


def table() -> tuple[list[str], int, int]:
    """(lines of the table, cases in which what the backend writes is equal, cases)."""
    chosen = list(cases())
    places = [(flow, io_type) for flow in FLOWS for io_type in IO_TYPES]
    written = {place: outcomes(chosen, *place, "") for place in places}
    alone = {place: own_outcomes(chosen, *place) for place in places}
    lines = [
        "| operation | option | flow | io_type | hls4ml's own layer | written by this backend |",
        "|---|---|---|---|---|---|",
    ]
    equal = 0
    for number, (option, operation, types) in enumerate(chosen):
        results = {}
        for flow, io_type in places:
            used, own = written[flow, io_type][number], alone[flow, io_type][number]
            extension = used.kind.startswith("Bitwright")
            if own is None and not extension:
                own = used
            text = "none" if own is None else f"{own.kind}: {'exact' if own.status == 'equal' else own.status}"
            layer = own_layer(operation, types, operation.infer(*types), stream=io_type == "io_stream")
            if extension and own is not None and own.status == "equal" and layer is not None:
                text += f", but {layer.fault}"
            what = f"{'extension' if extension else 'the same'}, {used.status}"
            results[flow, io_type] = (text.removeprefix(": "), what)
            equal += used.status == "equal"
        lines += [
            f"| {operation.kind} | {option} | {flow} | {io} | {own} | {used} |"
            for flow, io, own, used in _rows(results)
        ]
    return lines, equal, len(places) * len(chosen)


def _rows(results: Mapping[tuple[str, str], tuple[str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of a case, as few as say all: 'both' where flows, or ports, do not differ."""
    if len(set(results.values())) == 1:
        yield "both", "both", *next(iter(results.values()))
        return
    for io in IO_TYPES:
        found = [results[flow, io] for flow in FLOWS]
        rows = [("both", found[0])] if len(set(found)) == 1 else list(zip(FLOWS, found, strict=True))
        for flow, texts in rows:
            yield flow, io, *texts


def run() -> Sequence[Row]:
    lines, equal, count = table()
    text = DOCUMENT.read_text()
    head, rest = text.split(_BEGIN)
    DOCUMENT.write_text("\n".join([head.rstrip("\n"), "", _BEGIN, *lines, _END + rest.split(_END)[1]]))
    return [
        Row(
            "vectors of all cases that are equal to the interpreter as written", equal * VECTORS, "vectors", "hls4ml",
            version("hls4ml"), f"> {count * VECTORS - 1}",
        )
    ]  # fmt: skip
