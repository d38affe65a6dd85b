# SPDX-License-Identifier: Apache-2.0
"""Whole networks to check resource models on: none of their layers was drawn to fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.common import ROOT
from benchmarks.finn_rtl import cases, dense_network
from toolchain.ir import (
    Add,
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    SumPool,
)
from toolchain.passes.choose_folding import Folding, StageFolding, choose_folding
from toolchain.passes.group_stages import group_stages


@dataclass(frozen=True)
class Sized:
    """A network at a folding."""

    name: str
    graph: Graph
    folding: Folding


def networks() -> Iterator[Sized]:
    """The benchmark set. Models that are not on this machine are left out."""
    for case in cases():
        names = [stage.name for stage in group_stages(case.graph)]
        options = {name: StageFolding(fold[0], fold[-1]) for name, fold in zip(names, case.folding, strict=True)}
        yield Sized(case.name, case.graph, Folding(1, options))
    yield _paced("16-64-32-5 at 16 cycles", dense_network, 16)
    shared = ROOT.parent / "shared" / "models"
    if shared.is_dir():
        yield _paced("TFC W2A2", lambda: _loaded(str(shared / "qonnx_tfc_w2a2" / "TFC_2W2A.onnx")), 784)
        file = str(shared / "qonnx_jettag_w6a6" / "qkeras_jettagging.onnx")
        yield _paced("jet tagging W6A6", lambda: _loaded(file, input_type="fixed<16,6>"), 64)
    yield _paced("digits", lambda: _loaded("digits"), 64)
    yield _paced("mnist_cnn", lambda: _loaded("mnist_cnn"), 8_000)
    yield _paced("keyword_dscnn", lambda: _loaded("keyword_dscnn"), 40_000)
    yield _paced("ResNet-8", residual_network, 150_000)
    yield _paced("autoencoder", autoencoder, 2_048)


def _paced(name: str, build: Callable[[], Graph], cycles_per_frame: int) -> Sized:
    graph = build()
    return Sized(name, graph, choose_folding(graph, cycles_per_frame))


def _loaded(model: str, **options: str) -> Graph:
    import toolchain

    return toolchain.load_model(model, **options).graph


def residual_network() -> Graph:
    """ResNet-8 of MLPerf Tiny in the widths of models/image_resnet8 (8-bit weights and activations), random weights."""
    random = np.random.default_rng(8)
    builder = GraphBuilder("resnet8")
    activation, branch = IntegerType(False, 8, 5), IntegerType(True, 8, 4)

    def convolution(x: str, shape: tuple[int, int, int], stride: int, name: str) -> str:
        kernel, inputs, outputs = shape
        if kernel > 1:
            before = 0 if stride == 2 else 1
            x = builder.add(Pad(((before, 1), (before, 1), (0, 0))), x, name=f"{name}_pad")
        weights = np.clip(np.rint(random.normal(0, 30, (kernel, kernel, inputs, outputs))), -127, 127).astype(np.int64)
        x = builder.add(Conv(weights, (stride, stride), (1, 1), weight_fraction=7), x, name=name)
        return builder.add(AddBias(random.integers(-500, 500, outputs), 7), x, name=f"{name}_bias")

    def requantised(x: str, target: IntegerType, name: str) -> str:
        return builder.add(Requantise(target, Rounding.HALF_EVEN, Overflow.SATURATE), x, name=name)

    def rectified(x: str, name: str) -> str:
        return requantised(builder.add(Relu(), x, name=f"{name}_relu"), activation, name)

    x = builder.add(Input((32, 32, 3), IntegerType(False, 8, 8)), name="pixels")
    x = rectified(convolution(x, (3, 3, 16), 1, "conv"), "activation")
    channels = 16
    for number, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
        y = rectified(convolution(x, (3, channels, filters), stride, f"conv{number}a"), f"activation{number}a")
        y = requantised(convolution(y, (3, filters, filters), 1, f"conv{number}b"), branch, f"branch{number}")
        if stride != 1:
            x = requantised(
                convolution(x, (1, channels, filters), stride, f"short{number}"), branch, f"shortcut{number}"
            )
        x = rectified(builder.add(Add(), x, y, name=f"sum{number}"), f"activation{number}")
        channels = filters
    x = builder.add(SumPool((8, 8), (8, 8)), x, name="average")
    x = builder.add(Reshape((64,)), x, name="flat")
    x = builder.add(Dense(random.integers(-127, 128, (64, 10)), 7), x, name="logits")
    builder.output(x)
    return builder.build()


def autoencoder() -> Graph:
    """640-128-128-128-128-8-128-128-128-128-640 of MLPerf Tiny, 6-bit weights and activations, random weights."""
    random = np.random.default_rng(9)
    builder = GraphBuilder("autoencoder")
    x = builder.add(Input((640,), IntegerType(True, 8, 5)), name="features")
    sizes = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        weights = np.clip(np.rint(random.normal(0, 9, (inputs, outputs))), -31, 31).astype(np.int64)
        x = builder.add(Dense(weights, 5), x, name=f"dense{layer}")
        x = builder.add(AddBias(random.integers(-128, 128, outputs), 5), x, name=f"bias{layer}")
        if layer < len(sizes) - 2:
            x = builder.add(Relu(), x, name=f"relu{layer}")
            target = IntegerType(False, 6, 4)
            x = builder.add(Requantise(target, Rounding.HALF_EVEN, Overflow.SATURATE), x, name=f"activation{layer}")
    builder.output(x)
    return builder.build()
