# SPDX-License-Identifier: Apache-2.0
"""Instances of every module of the streaming library with drawn parameters: some to fit a resource model to, others to check it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.backends.rtl.streaming import buffers
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.backends.rtl.streaming.kernels._windows import parallel_window_instances
from toolchain.backends.rtl.streaming.reserve import reserve_constants
from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Concatenate,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Rounding,
    Scale,
    Slice,
    SumPool,
    Threshold,
    TopK,
    Upsample,
)
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.folding_model import lanes
from toolchain.passes.group_stages import Stage, group_stages


@dataclass(frozen=True)
class Sample:
    """An instance to synthesise by itself. input_widths: bits of a beat of each of its inputs."""

    instance: Instance
    input_widths: tuple[int, ...]


def samples(seed: int, count: int) -> Iterator[Sample]:
    """`count` draws of every sort of instance; the same seed gives the same ones."""
    for place, draw in enumerate(_DRAWS):
        random = np.random.default_rng((seed, place))
        for number in range(count):
            yield from draw(random, f"s{seed}_{place}_{number}")


def _of_graph(graph: Graph, random: np.random.Generator, name: str, most: int = 16) -> Iterator[Sample]:
    """The instances of the last stage of a graph, at a drawn folding of at most `most` elements a beat."""
    yield from of_stage(group_stages(graph)[-1], random, name, most)


def of_stage(stage: Stage, random: np.random.Generator, name: str, most: int) -> Iterator[Sample]:
    allowed = lanes(stage)
    simd = int(random.choice([value for value in allowed.simd if value <= most]))
    pe = simd if allowed.equal else int(random.choice([value for value in allowed.pe if value <= most]))
    yield from _chain(stage, StageFolding(simd, pe), name)


def _chain(stage: Stage, option: StageFolding, name: str) -> Iterator[Sample]:
    elements = [tensor.element.width for tensor in stage.input_types]
    for number, instance in enumerate(kernels()[type(stage.operation)].instances(stage, option, name)):
        if number == 0:
            widths = tuple(element * instance.input_lanes for element in elements)
        else:
            widths = (elements[0] * instance.input_lanes,)
        yield Sample(instance, widths)
        elements = [instance.output_element.width]


def _integer(random: np.random.Generator, least: int, most: int) -> IntegerType:
    return IntegerType(bool(random.integers(2)), int(random.integers(least, most + 1)))


def _graph(shape: tuple[int, ...], element: IntegerType, *operations: Any) -> Graph:
    builder = GraphBuilder("sample")
    tensor = builder.add(Input(shape, element), name="x")
    for number, operation in enumerate(operations):
        tensor = builder.add(operation, tensor, name=f"n{number}")
    builder.output(tensor)
    return builder.build()


def _pair(shape: tuple[int, ...], first: Any, second: Any, operation: Any) -> Graph:
    builder = GraphBuilder("sample")
    source = builder.add(Input(shape, IntegerType(True, 12)), name="x")
    a, b = builder.add(first, source, name="a"), builder.add(second, source, name="b")
    builder.output(builder.add(operation, a, b, name="joined"))
    return builder.build()


def _weights(random: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """As of trained layers: small values more often than large ones."""
    most = (1 << (bits - 1)) - 1 or 1
    return np.clip(np.rint(random.normal(0, 0.4 * most + 0.3, shape)), -most, most).astype(np.int64)


def _matrix(
    random: np.random.Generator, name: str, weight_bits: tuple[int, int], input_bits: tuple[int, int]
) -> Iterator[Sample]:
    inputs, outputs = int(random.choice([4, 8, 12, 16, 24, 36, 64, 72])), int(random.choice([4, 8, 10, 16, 24, 32]))
    bits = int(random.integers(weight_bits[0], weight_bits[1] + 1))
    weights = _weights(random, (inputs, outputs), bits)
    if random.integers(2):  # the one number that has no negative of its own
        weights[0, 0] = -(1 << (bits - 1))
    dense = Dense(weights)
    bias = [AddBias(random.integers(-200, 200, outputs))] if random.integers(2) else []
    yield from _of_graph(_graph((inputs,), _integer(random, *input_bits), dense, *bias), random, name, most=8)


def _narrow_matrix(random: np.random.Generator, name: str) -> Iterator[Sample]:
    return _matrix(random, name, (2, 4), (1, 8))


def _three_bit_matrix(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """Many products of weights from -3 to 3 in a cycle, and several steps, so that no weight is a constant."""
    inputs, outputs = int(random.choice([64, 72, 144, 256])), int(random.choice([16, 32, 64]))
    weights = random.integers(-3, 4, (inputs, outputs))
    element = _integer(random, 1, 4) if random.integers(2) else _integer(random, 5, 8)
    yield from _of_graph(_graph((inputs,), element, Dense(weights)), random, name)


def _wide_matrix(random: np.random.Generator, name: str) -> Iterator[Sample]:
    return _matrix(random, name, (5, 8), (2, 10))


def _deep_matrix(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """With a weight memory that may become block RAM."""
    inputs, outputs = int(random.choice([64, 144, 256, 490])), int(random.choice([32, 64, 128]))
    dense = Dense(_weights(random, (inputs, outputs), int(random.integers(2, 9))))
    option = StageFolding(int(random.choice([1, 2])), int(random.choice([1, 2, 4])))
    (stage,) = group_stages(_graph((inputs,), _integer(random, 2, 8), dense))
    yield from _chain(stage, option, name)


def _requantise(random: np.random.Generator, name: str) -> Iterator[Sample]:
    source = IntegerType(True, int(random.integers(6, 24)), int(random.integers(2, 8)))
    target = IntegerType(bool(random.integers(2)), int(random.integers(2, 10)), int(random.integers(-2, 5)))
    rounding = Rounding(random.choice([mode.value for mode in Rounding]))
    overflow = Overflow(random.choice([Overflow.SATURATE.value, Overflow.SATURATE.value, Overflow.WRAP.value]))
    channels = int(random.choice([1, 2, 4, 8]))
    yield from _of_graph(_graph((channels,), source, Requantise(target, rounding, overflow)), random, name)


def _relu(random: np.random.Generator, name: str) -> Iterator[Sample]:
    slope = int(random.integers(1, 4)) if random.integers(3) == 0 else None
    bound = int(random.integers(3, 60)) if random.integers(2) else None
    channels = int(random.choice([1, 2, 4, 8, 16]))
    yield from _of_graph(
        _graph((channels,), IntegerType(True, int(random.integers(4, 20))), Relu(slope, bound)), random, name
    )


def _add_bias(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([2, 4, 8, 24, 64, 128]))
    bias = random.integers(-(1 << 9), 1 << 9, channels)
    yield from _of_graph(_graph((channels,), _integer(random, 2, 16), AddBias(bias)), random, name, most=8)


def _scale(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([2, 4, 8, 24, 64, 128]))
    factors = _weights(random, (channels if random.integers(4) else 1,), int(random.integers(2, 12))) + 1
    yield from _of_graph(_graph((channels,), _integer(random, 2, 12), Scale(factors)), random, name, most=8)


def _threshold(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([4, 8, 12, 16, 32, 64, 128]))
    count = int(random.choice([1, 2, 3, 7, 15]))
    width = int(random.integers(5, 16))
    spread = 1 << (width - 2)
    rows = np.sort(random.integers(-spread, spread, (channels if random.integers(5) else 1, count)), axis=1)
    yield from _of_graph(_graph((channels,), IntegerType(True, width), Threshold(rows)), random, name, most=8)


def _lookup(random: np.random.Generator, name: str) -> Iterator[Sample]:
    width = int(random.integers(3, 9))
    rows = int(random.choice([1, 1, 4, 8]))
    table = random.integers(0, 1 << int(random.integers(2, 9)), (rows, 1 << width))
    shape = (rows if rows > 1 else int(random.choice([2, 4, 8])),)
    yield from _of_graph(_graph(shape, IntegerType(False, width), Lookup(table, 0)), random, name, most=8)


def _combine(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([2, 4, 8, 16]))
    a = Requantise(_integer(random, 2, 10), Rounding.TRUNCATE, Overflow.SATURATE)
    b = Requantise(_integer(random, 2, 10), Rounding.TRUNCATE, Overflow.SATURATE)
    operation = Multiply() if random.integers(2) else Add(bool(random.integers(2)))
    yield from _of_graph(_pair((channels,), a, b, operation), random, name, most=8)


def _concatenate(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([2, 4, 8, 16]))
    a = Requantise(_integer(random, 2, 10), Rounding.TRUNCATE, Overflow.SATURATE)
    b = Requantise(_integer(random, 2, 10), Rounding.TRUNCATE, Overflow.SATURATE)
    yield from _of_graph(_pair((4, channels), a, b, Concatenate(axis=int(random.integers(2)))), random, name)


def _image(random: np.random.Generator) -> tuple[int, int, int]:
    side = int(random.choice([5, 8, 12, 14, 28]))
    return side, int(random.choice([side, side + 3])), int(random.choice([1, 2, 4, 8, 16]))


def _window(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """sliding_window alone, with a line buffer of drawn depth."""
    shape = (*(side + 3 for side in _image(random)[:2]), int(random.choice([1, 2, 4, 8, 16])))
    kernel = int(random.choice([2, 3, 3, 5]))
    stride = int(random.integers(1, 3))
    operation = MaxPool((kernel, kernel), (stride, stride))
    (stage,) = group_stages(_graph(shape, _integer(random, 1, 8), operation))
    simd = int(random.choice([value for value in lanes(stage).simd if value <= 8]))
    window = next(_chain(stage, StageFolding(simd, simd), name))
    assert window.instance.resize is not None
    depth = window.instance.least_depth + int(random.integers(0, shape[1] * 2))
    yield Sample(window.instance.resize(depth), window.input_widths)


def _pool(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """window_reduce alone, of maxima or sums."""
    shape = (8, 8, int(random.choice([2, 4, 8, 16, 32, 64])))
    kernel = int(random.choice([2, 3, 8]))
    sort = MaxPool if random.integers(2) else SumPool
    (stage,) = group_stages(_graph(shape, _integer(random, 2, 10), sort((kernel, kernel), (kernel, kernel))))
    simd = int(random.choice([value for value in lanes(stage).simd if value <= 8]))
    yield list(_chain(stage, StageFolding(simd, simd), name))[-1]


def _pad(random: np.random.Generator, name: str) -> Iterator[Sample]:
    widths = tuple((int(random.integers(0, 3)), int(random.integers(0, 3))) for _ in range(2))
    value = 0 if random.integers(3) else 1
    yield from _of_graph(
        _graph(_image(random), _integer(random, 2, 8), Pad((*widths, (0, 0)), value)), random, name, most=8
    )


def _upsample(random: np.random.Generator, name: str) -> Iterator[Sample]:
    factors = (int(random.integers(1, 3)), int(random.integers(1, 4)), 1)
    yield from _of_graph(_graph(_image(random), _integer(random, 2, 8), Upsample(factors)), random, name, most=8)


def _insert_zeros(random: np.random.Generator, name: str) -> Iterator[Sample]:
    factors = (int(random.integers(1, 4)), int(random.integers(1, 4)), 1)
    yield from _of_graph(_graph(_image(random), _integer(random, 2, 8), InsertZeros(factors)), random, name, most=8)


def _slice(random: np.random.Generator, name: str) -> Iterator[Sample]:
    shape = _image(random)
    starts = (int(random.integers(0, 3)), int(random.integers(0, 3)), 0)
    stops = (shape[0] - int(random.integers(0, 2)), shape[1] - int(random.integers(0, 2)), shape[2])
    steps = (int(random.integers(1, 3)), int(random.integers(1, 3)), 1)
    yield from _of_graph(_graph(shape, _integer(random, 2, 8), Slice(starts, stops, steps)), random, name, most=8)


def _argmax(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([2, 4, 5, 8, 10, 12, 16, 32]))
    yield from _of_graph(_graph((channels,), IntegerType(True, int(random.integers(6, 24))), ArgMax()), random, name)


def _top_k(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([5, 8, 10, 12, 16, 32]))
    operation = TopK(int(random.integers(1, 6)))
    yield from _of_graph(_graph((channels,), IntegerType(True, int(random.integers(6, 24))), operation), random, name)


def _fifo(random: np.random.Generator, name: str) -> Iterator[Sample]:
    lanes_, element = int(random.choice([1, 2, 4, 8, 16])), IntegerType(False, int(random.integers(1, 12)))
    depth = int(
        random.choice([2, 3, 5, 8, 12, 16, 17, 24, 32, 40, 64, 65, 100, 128, 200, 256, 300, 512, 700, 1024, 3000])
    )
    yield Sample(buffers.fifo(element, lanes_, 8, depth), (lanes_ * element.width,))


def _small_fifo(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """As result queues have them."""
    lanes_, element = int(random.choice([1, 2, 4, 8])), IntegerType(False, int(random.integers(2, 12)))
    yield Sample(buffers.fifo(element, lanes_, 8, int(random.integers(3, 10))), (lanes_ * element.width,))


def _fork(random: np.random.Generator, name: str) -> Iterator[Sample]:
    lanes_, element = int(random.choice([1, 2, 4, 8, 16])), IntegerType(False, int(random.integers(1, 12)))
    yield Sample(buffers.fork(element, lanes_, 8), (lanes_ * element.width,))
    yield Sample(buffers.register_slice(element, lanes_, 8), (lanes_ * element.width,))


def _converter(random: np.random.Generator, name: str) -> Iterator[Sample]:
    element = IntegerType(False, int(random.integers(1, 12)))
    found, wanted = (int(value) for value in random.choice([1, 2, 3, 4, 5, 6, 8, 10, 12, 16], 2, replace=False))
    yield Sample(buffers.width_converter(element, found, wanted, 240), (found * element.width,))


def _depthwise(random: np.random.Generator, name: str) -> Iterator[Sample]:
    channels = int(random.choice([4, 8, 16, 32]))
    weights = _weights(random, (3, 3, 1, channels), int(random.integers(3, 9)))
    operation = Conv(weights, (1, 1), (1, 1), groups=channels)
    (stage,) = group_stages(_graph((6, 6, channels), _integer(random, 3, 8), operation))
    simd = int(random.choice([value for value in lanes(stage).simd if value <= 8]))
    yield from list(_chain(stage, StageFolding(simd, simd), name))[1:]


def _sign_matrix(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """Weights of -1 and +1, or of -1, 0 and +1."""
    inputs, outputs = int(random.choice([8, 12, 24, 36, 64, 144])), int(random.choice([4, 8, 16, 32]))
    weights = random.choice([-1, 1] if random.integers(2) else [-1, 0, 1], (inputs, outputs))
    element = IntegerType(False, 1) if random.integers(2) else _integer(random, 2, 4)
    yield from _of_graph(_graph((inputs,), element, Dense(weights)), random, name, most=24)


def _parallel_window(random: np.random.Generator, name: str) -> Iterator[Sample]:
    shape = (*(side + 3 for side in _image(random)[:2]), int(random.choice([1, 2, 3, 4])))
    kernel, stride = int(random.choice([2, 3, 3, 5])), int(random.integers(1, 3))
    weights = _weights(random, (kernel, kernel, shape[2], 4), 4)
    (stage,) = group_stages(_graph(shape, _integer(random, 1, 8), Conv(weights, (stride, stride), (1, 1))))
    (window,) = parallel_window_instances(stage)
    assert window.resize is not None
    instance = window.resize(int(random.choice([1, 2, 4, 6])))
    yield Sample(instance, (shape[2] * stage.input_type.element.width,))


def _loadable(random: np.random.Generator, name: str) -> Iterator[Sample]:
    """Modules whose constants can be replaced at run time."""
    channels = int(random.choice([4, 8, 12, 16, 32, 64, 128]))
    operations: list[Any]
    sort = int(random.integers(5))
    if sort < 2:
        outputs, bits = int(random.choice([4, 8, 16, 32, 64])), int(random.integers(2, 9))
        operations = [Dense(_weights(random, (channels, outputs), bits))]
        operations += [AddBias(random.integers(-200, 200, outputs))] if random.integers(2) else []
    elif sort == 2:
        operations = [AddBias(random.integers(-200, 200, channels))]
    elif sort == 3:
        operations = [Scale(_weights(random, (channels,), int(random.integers(2, 9))))]
    else:
        count = int(random.choice([1, 2, 3, 7, 15]))
        operations = [Threshold(np.sort(random.integers(-60, 60, (channels, count)), axis=1))]
    graph, _ = reserve_constants(_graph((channels,), _integer(random, 3, 8), *operations))
    yield from _of_graph(graph, random, name, most=8)


_DRAWS: tuple[Callable[[np.random.Generator, str], Iterator[Sample]], ...] = (
    _narrow_matrix, _narrow_matrix, _wide_matrix, _deep_matrix, _requantise, _relu, _add_bias, _scale, _threshold, _threshold,
    _lookup, _combine, _concatenate, _window, _window, _pool, _pad, _upsample, _insert_zeros, _slice, _argmax, _top_k, _fifo,
    _fork, _converter, _depthwise, _sign_matrix, _wide_matrix, _parallel_window,
    _small_fifo, _loadable, _loadable, _loadable, _three_bit_matrix, _three_bit_matrix,
)  # fmt: skip
