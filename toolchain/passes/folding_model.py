# SPDX-License-Identifier: Apache-2.0
"""What a folding of one stage means: which are possible, the cycles a frame takes with it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, lcm, prod

from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Concatenate,
    Conv,
    Dense,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Operation,
    Pad,
    Relu,
    Requantise,
    Scale,
    Slice,
    SumPool,
    Threshold,
    TopK,
    Upsample,
)
from toolchain.ir.products import WeightedSums
from toolchain.passes.group_stages import Stage

#: A beat goes in, and a beat of as many elements comes out.
_ELEMENTWISE: tuple[type[Operation], ...] = (AddBias, Relu, Requantise, Threshold, Scale, Lookup, Add, Multiply)
#: Beats of as many elements on both sides, but not as many beats.
_ONE_WIDTH: tuple[type[Operation], ...] = (MaxPool, SumPool, Pad, Upsample, InsertZeros, Slice, Concatenate)
#: One index leaves for each vector, or several.
_INDICES: tuple[type[Operation], ...] = (ArgMax, TopK)
FOLDABLE: tuple[type[Operation], ...] = (Dense, Conv, *_INDICES, *_ELEMENTWISE, *_ONE_WIDTH)

#: Beats a vector, and places of all lists of thresholds of a lane (each list filled up to a power of two), up to which
#: threshold.sv looks thresholds up in tables of LUTs.
_TABLE_BEATS, _TABLE_PLACES = 64, 4096
#: Widest vector in bits that every tool takes: the least that IEEE 1800-2017, 6.9.1, lets a tool limit vectors to.
WIDEST_VECTOR = 65_536


@dataclass(frozen=True)
class StageFolding:
    """simd: elements of an input beat, or, above the input's channels, of several pixels that are multiplied at once; pe:
    elements of an output beat.
    """

    simd: int
    pe: int


@dataclass(frozen=True)
class Lanes:
    """What simd and pe a stage can have. why: what they divide, for messages. equal: whether both have to be the same."""

    simd: tuple[int, ...]
    pe: tuple[int, ...]
    simd_why: str
    pe_why: str
    equal: bool = False


def divisors(number: int) -> list[int]:
    """All positive divisors, ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return small + [number // n for n in reversed(small) if n * n != number]


def is_depthwise(operation: Operation) -> bool:
    """Whether each output channel of a convolution comes from the one input channel of the same number."""
    return isinstance(operation, Conv) and 1 < operation.groups == operation.input_channels == operation.output_channels


def is_matrix(stage: Stage) -> bool:
    """Whether a stage multiplies vectors by a matrix: dense, and every convolution that is not depthwise.

    A convolution in several groups is one with zeros in the matrix.
    """
    return isinstance(stage.operation, Dense | Conv) and not is_depthwise(stage.operation)


def matrix_shape(stage: Stage) -> tuple[int, int]:
    """(inputs, outputs) of the matrix of a matrix stage."""
    operation = stage.operation
    if isinstance(operation, Conv):
        return prod(operation.window) * operation.input_channels, operation.output_channels
    assert isinstance(operation, Dense)
    inputs, outputs = operation.weights.shape
    return inputs, outputs


def positions(stage: Stage) -> int:
    """Windows a frame of a convolution or pool; of other stages the vectors along the last axis."""
    return stage.output_type.size // stage.output_type.channels if _window(stage) else stage.vectors


def taps(stage: Stage) -> int:
    """Pixels under the window of a convolution or pool; 1 for other stages."""
    return prod(_window(stage) or (1,))


def _window(stage: Stage) -> tuple[int, ...] | None:
    operation = stage.operation
    return operation.window if isinstance(operation, Conv | MaxPool | SumPool) else None


def slides(stage: Stage) -> bool:
    """Whether a stage needs a sliding window before it: not if every pixel is used once, in order."""
    window, spatial = _window(stage), stage.input_type.shape[:-1]
    if window is None or window == spatial:
        return False
    return prod(window) > 1 or stage.output_type.shape[:-1] != spatial


def input_lanes(stage: Stage, option: StageFolding) -> int:
    """Elements of a stage's input beat: a whole pixel where several are multiplied at once."""
    return min(option.simd, stage.input_type.channels)


def has_parallel_window(stage: Stage, option: StageFolding) -> bool:
    """Whether a stage multiplies several pixels of its window at once."""
    return option.simd > stage.input_type.channels


def lanes(stage: Stage) -> Lanes:
    """The values that simd and pe can have."""
    operation = stage.operation
    inputs, outputs = stage.input_type.channels, stage.output_type.channels
    into, out_of = f"its {inputs} input channels", f"its {outputs} output channels"
    if is_matrix(stage):
        whole_pixels = [inputs * pixels for pixels in divisors(taps(stage))[1:]] if slides(stage) else []
        if whole_pixels:
            into += f", or be whole pixels that divide the {taps(stage)} under its window"
        return Lanes((*divisors(inputs), *whole_pixels), tuple(divisors(outputs)), into, out_of)
    if isinstance(operation, TopK):
        return Lanes((1,), (1,), into, "1: it gives one index a beat")
    if isinstance(operation, ArgMax):
        return Lanes(tuple(divisors(inputs)), (1,), into, "1: it gives one index a vector")
    common = inputs
    if isinstance(operation, Concatenate):
        common = gcd(*(tensor.channels for tensor in stage.input_types))
    elif isinstance(operation, Slice) and operation.steps[-1] != 1:
        common = 1
    elif isinstance(operation, Slice):
        common = gcd(inputs, operation.starts[-1], operation.stops[-1])
    shared = tuple(divisors(common))
    reason = f"the {common} channels that its operands and its result have in common"
    if common in (inputs, outputs):
        reason = into if common == inputs else out_of
    return Lanes(shared, shared, reason, reason, equal=True)


def multipliers(stage: Stage, option: StageFolding) -> int:
    """Multipliers of a stage."""
    if is_matrix(stage):
        return option.simd * option.pe
    return option.pe if is_depthwise(stage.operation) or isinstance(stage.operation, Scale | Multiply) else 0


def cycles(stage: Stage, option: StageFolding) -> int:
    """Cycles a frame that a stage needs: of its busiest part."""
    into = max(tensor.size for tensor in stage.input_types) // input_lanes(stage, option)
    if is_matrix(stage):
        inputs, outputs = matrix_shape(stage)
        steps = positions(stage) * (inputs // option.simd) * (outputs // option.pe)
        return max(steps, into) if slides(stage) else steps
    if _window(stage):
        return max(positions(stage) * taps(stage) * stage.input_type.channels // option.simd, into)
    if isinstance(stage.operation, ArgMax):
        return into
    return max(into, stage.output_type.size // option.pe)


def too_wide(stage: Stage, option: StageFolding) -> str | None:
    """The first vector of a stage that is wider than WIDEST_VECTOR, with its bits; None if none is.

    A beat of its input or result, a whole window, a word of weights or of thresholds, all thresholds of a lane.
    """
    operation, element = stage.operation, stage.input_type.element
    vectors = [("its input beats have", option.simd * element.width)]
    vectors.append(("its result's beats have", option.pe * stage.output_type.element.width))
    if is_matrix(stage):
        assert isinstance(operation, WeightedSums)
        vectors.append(("a word of its weight memory has", option.simd * option.pe * operation.weight_type.width))
        if has_parallel_window(stage, option):
            vectors.append(("its window has", taps(stage) * stage.input_type.channels * element.width))
    if isinstance(operation, Threshold):
        low, high = operation.bounds(element)
        width = IntegerType.spanning(min(low, -1), max(high, 0)).width
        vectors.append(("a word of its threshold memory has", option.pe * operation.thresholds.shape[1] * width))
        beats = stage.input_type.channels // option.pe
        if looks_thresholds_up(operation, beats):
            places = _table_places(operation, beats)
        else:
            places = _table_places(operation, 1) - 1
        vectors.append(("the list of a lane's thresholds has", places * width))
    return next((f"{what} {bits:,} bits" for what, bits in vectors if bits > WIDEST_VECTOR), None)


def _table_places(operation: Threshold, beats: int) -> int:
    """Places of a lane's lists of thresholds, each filled up to a power of two."""
    return beats << operation.thresholds.shape[1].bit_length()


def looks_thresholds_up(operation: Threshold, beats: int) -> bool:
    """Whether threshold.sv looks thresholds up in tables of LUTs, at so many beats a vector; else they are in a memory.

    Thresholds that can be replaced at run time, which another type of operation stands for, are always in a memory.
    """
    return type(operation) is Threshold and beats <= _TABLE_BEATS and _table_places(operation, beats) <= _TABLE_PLACES


@dataclass(frozen=True)
class Choices:
    """What a search for foldings may choose from.

    parallel: whether a convolution may multiply several pixels of its window at once. given: by the stage's name, what a user
    decided of its folding (passes/given_folding.py); that is all it may be then, several pixels at once or not.
    """

    parallel: bool = True
    given: Mapping[str, tuple[StageFolding, ...]] = field(default_factory=dict)

    def of(self, stage: Stage) -> list[StageFolding]:
        """The foldings that a stage may have. Those of stages that are not given may be none: see `options`."""
        return list(self.given[stage.name]) if stage.name in self.given else options(stage, self.parallel)


#: Nothing is given, and everything allowed.
ALL = Choices()


def options(stage: Stage, parallel: bool = True) -> list[StageFolding]:
    """Every folding that a stage can have; without those that multiply several pixels at once, if not `parallel`.

    Foldings with a vector wider than WIDEST_VECTOR are left out: of a stage that has no other, nothing is left.
    """
    allowed = lanes(stage)
    if allowed.equal:
        every = [StageFolding(width, width) for width in allowed.simd]
    else:
        every = [StageFolding(simd, pe) for simd in allowed.simd for pe in allowed.pe]
    return [
        option
        for option in every
        if (parallel or not has_parallel_window(stage, option)) and too_wide(stage, option) is None
    ]


def logic(stage: Stage, option: StageFolding) -> int:
    """A figure that grows with a stage's logic, about the LUTs with four inputs that it takes, memories aside.

    A product of a and b bits counts a * b, whether LUTs or a DSP block compute it; a sum, a register with its logic, a
    comparison, or a choice counts its bits.
    """
    inputs = [tensor.element.width for tensor in stage.input_types]
    result = stage.output_type.element.width
    operation = stage.operation
    if is_matrix(stage):
        assert isinstance(operation, WeightedSums)
        weight = operation.weight_type.width
        product = inputs[0] + weight
        multiply = option.simd * inputs[0] * weight
        tree = (option.simd - 1) * product
        # Accumulator, bias and output queue; operands are registered for each row.
        window = _parallel_window_logic(stage, option) if has_parallel_window(stage, option) else 0
        return window + option.pe * (multiply + tree + 3 * result + option.simd * inputs[0])
    bits = option.simd * sum(inputs)
    if isinstance(operation, Conv):
        weight = operation.weight_type.width
        return option.pe * (inputs[0] * weight + 3 * result)
    if isinstance(operation, Scale):
        return option.pe * (inputs[0] * int(abs(operation.factors).max()).bit_length() + 2 * result)
    if isinstance(operation, Multiply):
        return option.pe * (inputs[0] * inputs[1] + 2 * result)
    if isinstance(operation, Threshold):
        return bits * (1 + operation.thresholds.shape[1])
    return bits


def _parallel_window_logic(stage: Stage, option: StageFolding) -> int:
    """Register bits of parallel_window: its columns, and a window or two that wait; and of the converter behind it."""
    operation = stage.operation
    assert isinstance(operation, Conv)
    pixel = stage.input_type.channels * stage.input_type.element.width
    kernel_rows = taps(stage) // operation.window[-1]
    columns = (operation.window[-1] - 1) * operation.dilation[-1] + 1
    whole = taps(stage) * stage.input_type.channels
    converter = converter_logic(stage.input_type.element.width, whole, option.simd)
    return kernel_rows * columns * pixel + 2 * taps(stage) * pixel + converter


def converter_logic(element_width: int, found: int, wanted: int) -> int:
    """Register bits of the converter from beats of `found` to beats of `wanted` elements; 0 if they are equal."""
    return 0 if found == wanted else 2 * lcm(found, wanted) * element_width


def fewest_cycles(stages: Sequence[Stage], choices: Choices = ALL) -> int:
    """The fewest cycles a frame that the slowest stage can be folded to."""
    return max((min(cycles(stage, option) for option in choices.of(stage)) for stage in stages), default=1)
