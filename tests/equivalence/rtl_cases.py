# SPDX-License-Identifier: Apache-2.0
"""The networks of the RTL equivalence tests: every operation's samples in several foldings, and whole random networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tests.equivalence.rtl_bundle import Member
from toolchain.backends.rtl.streaming import why_unsupported
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.ir import (
    AddBias,
    ArgMax,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Node,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Slice,
    TensorType,
    Threshold,
    operations,
)
from toolchain.passes.choose_folding import Folding, StageFolding, choose_folding
from toolchain.passes.folding_model import options
from toolchain.passes.group_stages import Stage
from toolchain.target import Target

#: What the backend declares to compute; tests/unit/test_ir_refusals.py shows that it refuses everything else.
SUPPORTED = (Input, Reshape, *kernels())


def sample_members() -> Iterator[Member]:
    """Every sample of every operation that has a kernel as a network of its own, in several foldings."""
    number = 0
    for kind, operation in operations().items():
        if operation not in SUPPORTED:
            continue
        for index, (sample, types) in enumerate(operation.samples()):
            for label, simd, pe in _foldings(sample, types):
                name = f"{kind}_{index}_{label}"
                graph = _sample_graph(name, f"s{number}_", sample, types)
                if refused(graph):
                    continue
                stages = {}
                if not isinstance(sample, Input | Reshape):
                    around = choose_folding(graph, 1 << 20) if len(types) > 1 else Folding(0, {})
                    stages = {**around.stages, f"s{number}_{kind}": StageFolding(simd, pe)}
                yield Member(name, graph, Folding(0, stages))
                number += 1


def _sample_graph(name: str, prefix: str, sample: Operation, types: tuple[TensorType, ...]) -> Graph:
    """The operation behind an input; several operands are parts of one input, requantised."""
    builder = GraphBuilder(name)
    if isinstance(sample, Input):
        builder.output(builder.add(sample, name=f"{prefix}input"))
        return builder.build()
    if len(types) == 1:
        operands = [builder.add(Input(types[0].shape, types[0].element), name=f"{prefix}input")]
    else:
        size = sum(tensor.size for tensor in types)
        source = builder.add(Input((size,), IntegerType(True, 9, 3)), name=f"{prefix}input")
        operands, start = [], 0
        for place, tensor in enumerate(types):
            bounds = (start,), (start + tensor.size,), (1,)
            part = builder.add(Slice(*bounds), source, name=f"{prefix}part_{place}")
            part = builder.add(Reshape(tensor.shape), part, name=f"{prefix}shape_{place}")
            element = IntegerType(tensor.element.signed, tensor.element.width, tensor.element.fraction)
            operands.append(builder.add(Requantise(element), part, name=f"{prefix}operand_{place}"))
            start += tensor.size
    builder.output(builder.add(sample, *operands, name=f"{prefix}{sample.kind}"))
    return builder.build()


def refused(graph: Graph) -> list[str]:
    """Why the backend refuses a graph; the refusals have tests of their own."""
    return [reason for node in graph if (reason := why_unsupported(node, graph, Target()))]


def _foldings(sample: Operation, types: tuple[TensorType, ...]) -> Iterator[tuple[str, int, int]]:
    """The narrowest, the widest and some between, of all that the operation can have."""
    if isinstance(sample, Input | Reshape):
        yield "whole", 1, 1
        return
    stage = Stage((Node("sample", sample, ()),), ("x",) * len(types), types, sample.infer(*types))
    every = sorted({(option.simd, option.pe) for option in options(stage)})
    mixed = [min(every, key=lambda pair: (pair[0], -pair[1])), max(every, key=lambda pair: (pair[0], -pair[1]))]
    for simd, pe in dict.fromkeys([every[0], every[-1], *mixed, every[len(every) // 2]]):
        yield f"{simd}x{pe}", simd, pe


#: Names that would break out of an identifier, a comment, a string or a path if they were not escaped.
HOSTILE = (
    "fc1/kernel:0",
    "a\n  assign m_axis_tdata = 0; //",
    "*/ endmodule /*",
    '"; $finish; "',
    "módulo ünï",
    "u_fc",
    "clk",
    "`include",
    "x" * 200,
    "fc_fifo",
    "../../etc/passwd",
    "wire\\",
)


def random_network(name: str, seed: int) -> Graph:
    """A dense network with random sizes, widths, binary points, activations and, for some seeds, hostile names."""
    random = np.random.default_rng(seed)
    builder = GraphBuilder(f"{name} {HOSTILE[seed % len(HOSTILE)]}" if seed % 2 else name)
    names = [f"{name}_{text}" if not text.startswith(("u_", "..")) else f"{text}_{name}" for text in HOSTILE]
    order = list(random.permutation(len(names)))

    def label(kind: str) -> tuple[str, str]:
        if seed % 2 and order:
            text = names[order.pop()]
            return text, text
        return f"{name}_{kind}", kind

    def integer(width: int, signed: bool, fraction: int) -> IntegerType:
        return IntegerType(signed, width, fraction)

    width = int(random.integers(1, 9))
    sizes = [int(v) for v in random.choice([1, 3, 4, 5, 6, 8, 10, 12, 15, 16], int(random.integers(2, 5)))]
    if seed % 3 == 0:
        shape: tuple[int, ...] = (2, sizes[0])
    elif seed % 3 == 1 and sizes[0] % 2 == 0:
        shape = (sizes[0] // 2, 2)
    else:
        shape = (sizes[0],)
    tensor = builder.add(
        Input(shape, integer(width, bool(random.integers(2)), int(random.integers(-2, 9)))), name=f"{name}_input"
    )
    if seed % 3 == 1 and len(shape) == 2:
        tensor = builder.add(Reshape((sizes[0],)), tensor, name=f"{name}_flatten")
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        bits = int(random.integers(2, 8))
        weights = random.integers(-(1 << (bits - 1)), 1 << (bits - 1), (inputs, outputs))
        text, source = label(f"fc{layer}")
        tensor = builder.add(Dense(weights, int(random.integers(0, 8))), tensor, name=text, source=source)
        element = builder.type(tensor).element
        if random.integers(4):
            fraction = element.fraction + int(random.integers(-3, 6))
            bias = random.integers(-(1 << 6), 1 << 6, outputs)
            tensor = builder.add(AddBias(bias, fraction), tensor, name=f"{name}_bias{layer}")
            element = builder.type(tensor).element
        if layer == len(sizes) - 2:
            break
        text, source = label(f"act{layer}")
        if random.integers(2):
            slope = [None, None, 2][int(random.integers(3))]
            tensor = builder.add(Relu(slope), tensor, name=f"{name}_relu{layer}")
            to = integer(
                int(random.integers(1, 7)),
                slope is not None,
                builder.type(tensor).element.fraction - int(random.integers(0, 8)),
            )
            rounding = list(Rounding)[int(random.integers(len(Rounding)))]
            overflow = [Overflow.SATURATE, Overflow.WRAP, Overflow.SATURATE_ZERO][int(random.integers(3))]
            tensor = builder.add(Requantise(to, rounding, overflow), tensor, name=text, source=source)
        else:
            rows, count = [1, outputs][int(random.integers(2))], int(random.integers(1, 16))
            low, high = element.minimum - 2, element.maximum + 3
            thresholds = np.sort(random.integers(low, high, (rows, count)), axis=1)
            operation = Threshold(thresholds, int(random.integers(-8, 1)), int(random.integers(0, 4)))
            tensor = builder.add(operation, tensor, name=text, source=source)
    if seed % 2 == 0 and builder.type(tensor).channels > 1:
        tensor = builder.add(ArgMax(), tensor, name=f"{name}_argmax")
    builder.output(tensor)
    return builder.build()


def network_members(seeds: range) -> Iterator[Member]:
    """Random networks, each with a pace between as fast and as slow as it can be."""
    for seed in seeds:
        graph = random_network(f"network{seed}", seed)
        vectors = max(node_type.size // node_type.channels for node_type in graph.types.values())
        pace = int(np.random.default_rng(seed).choice([1, 2, 5, 16, 64]))
        yield Member(f"network{seed}", graph, cycles_per_frame=vectors * pace if seed % 4 else None)


def narrow_members(seeds: range) -> Iterator[Member]:
    """Networks of what has hardware of its own: signs and bits, ternary weights, and products that share a DSP block."""
    for seed in seeds:
        random, name = np.random.default_rng([seed, 77]), f"narrow{seed}"
        builder = GraphBuilder(name)
        channels = int(random.integers(2, 13))
        x = builder.add(Input((6, 6, channels), IntegerType(bool(random.integers(2)), 5)), name=f"{name}_x")
        for layer in range(3):
            kind = ("signs", "ternary", "wide")[int(random.integers(3))]
            if kind == "signs":
                # Two values that are 2 or 4 apart, where the sums are about as often below as above.
                element = builder.type(x).element
                middle = random.integers(element.minimum // 4, element.maximum // 4 + 1, (channels, 1))
                steps = np.repeat(middle, int(random.choice([2, 4])), axis=1)
                x = builder.add(Threshold(steps, int(random.integers(-3, 1))), x, name=f"{name}_step{layer}")
            else:
                narrowed = IntegerType(bool(random.integers(2)), int(random.integers(2, 9)))
                x = builder.add(
                    Requantise(narrowed, Rounding.TRUNCATE, Overflow.SATURATE), x, name=f"{name}_narrowed{layer}"
                )
            outputs, window = int(random.integers(1, 9)), (1, 1) if layer < 2 else builder.type(x).shape[:2]
            window = window if random.integers(2) else (2, 2)
            shape = (*window, channels, outputs)
            choices = {"signs": [-1, 1], "ternary": [-1, 0, 1]}.get(kind)
            weights = random.choice(choices, shape) if choices else random.integers(-31, 32, shape)
            weights = weights << int(random.integers(3))
            x = builder.add(Conv(weights, (1, 1), (1, 1)), x, name=f"{name}_conv{layer}")
            channels = outputs
            if random.integers(2):
                x = builder.add(
                    AddBias(random.integers(-20, 20, outputs), int(random.integers(-1, 2))),
                    x,
                    name=f"{name}_bias{layer}",
                )
        builder.output(x)
        graph = builder.build()
        pace = int(random.choice([40, 80, 200]))
        part = str(random.choice(["", "LFE5U-85F-6BG381C", "xc7z020clg400-1"]))
        yield Member(name, graph, cycles_per_frame=pace * 8, part=part)
