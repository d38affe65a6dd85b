# SPDX-License-Identifier: Apache-2.0
"""The graph under construction while a QONNX file is read: lines in, operations out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.qonnx_values import (
    MAXIMUM_BITS,
    Constant,
    Fractions,
    Line,
    PendingDense,
    Quantiser,
    RealInput,
    compact,
    fractions_of,
    power_of_two,
)
from toolchain.frontends.real_input import declared, narrowed
from toolchain.frontends.thresholds import MAXIMUM_STEPS, accumulator_thresholds
from toolchain.ir import (
    AddBias,
    Dense,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Threshold,
)

#: Relative distance within which two float32 scales are the same number computed in another order.
SAME_SCALE = Fraction(1, 1 << 22)
#: Fraction bits that a bias may add to an accumulator to be exact on it.
_MAXIMUM_EXTRA_FRACTION = 32


class Walk:
    """The graph under construction. Methods take lines and return lines; `label` is for messages."""

    def __init__(
        self,
        name: str,
        framework: str,
        input_name: str,
        input_shape: tuple[int, ...],
        input_range: tuple[float, float] | None,
        where: str,
    ) -> None:
        self.builder = GraphBuilder(name, {"framework": framework})
        self._input_name, self._input_shape, self._input_range, self._where = (
            input_name,
            input_shape,
            input_range,
            where,
        )

    def declared_input(self, element: IntegerType) -> Line:
        """The graph's input in a type that the user gave."""
        operation = Input(self._input_shape, declared(element, self._input_range))
        tensor = self.builder.add(operation, name=self._input_name, source=self._input_name)
        return Line(tensor, self._input_shape, (Fraction(2) ** -element.fraction,))

    def quantised_input(self, quantiser: Quantiser, value: RealInput, source: str, label: str) -> Line:
        """The graph's input as the model's first quantiser makes it."""
        steps = quantiser.steps(value.shape[-1], label)
        if quantiser.is_bipolar or len(set(steps)) != 1:
            raise UnsupportedModel(
                f"{label}: quantises the input with one bit or a scale a channel; give it one scale and more bits"
            )
        step, zero_point = steps[0], quantiser.zero_point
        exponent = power_of_two(step)
        fraction = 0 if exponent is None else -exponent
        element, out_of_range = narrowed(
            IntegerType.spanning(quantiser.lowest, quantiser.highest, fraction),
            self._input_range,
            step=step,
            zero_point=zero_point,
            rounding=quantiser.rounding,
        )
        operation = Input(
            self._input_shape,
            element,
            scale=float(step) if exponent is None else 1.0,
            offset=float(-zero_point * step),
            rounding=quantiser.rounding,
            out_of_range=out_of_range,
        )
        tensor = self.builder.add(operation, name=self._input_name, source=source)
        for move, name, origin in value.moves:
            tensor = self.builder.add(move, tensor, name=name, source=origin)
        return Line(tensor, value.shape, (step,), (-zero_point * step,))

    def dense(self, line: Line, weights: Constant, name: str, source: str, label: str) -> Line:
        """The product with quantised weights of shape (inputs, outputs)."""
        if weights.integers is None or weights.scale is None:
            raise UnsupportedModel(f"{label}: its weights are not quantised; use a quantised layer (QuantLinear)")
        if weights.integers.ndim != 2 or weights.integers.shape[0] != line.channels:
            raise UnsupportedModel(f"{label}: weights of shape {weights.integers.shape} for {line.channels} inputs")
        line = self._settled(line, label)
        if len(set(line.scale)) != 1:
            raise UnsupportedModel(
                f"{label}: its input has a scale a channel; a sum over channels needs one common scale"
            )
        outputs = weights.integers.shape[1]
        columns = np.broadcast_to(weights.scale, weights.integers.shape)
        if (columns != columns[:1]).any():
            raise UnsupportedModel(
                f"{label}: its weights have a scale for each input; supported is one, or one an output"
            )
        steps = fractions_of(columns[0])
        offset: list[Fraction] = [Fraction(0)] * outputs
        if any(line.offset):
            spread = line.spread(line.offset)
            offset = [
                step * sum((o * int(w) for o, w in zip(spread, column, strict=True)), Fraction(0))
                for step, column in zip(steps, weights.integers.T, strict=True)
            ]
        exponents = [power_of_two(step) for step in steps]
        integers, fraction = weights.integers, 0
        scale: Fractions = tuple(line.scale[0] * step for step in steps)
        known = [exponent for exponent in exponents if exponent is not None]
        if len(known) == outputs and max(known) - min(known) <= MAXIMUM_BITS:
            # Powers of two go into the weights' binary point, on the finest of them.
            fraction = -min(known)
            integers = integers << np.array([exponent + fraction for exponent in known])
            scale = (line.scale[0] * Fraction(2) ** -fraction,)
        if len(set(scale)) == 1:
            scale = scale[:1]
        pending = PendingDense(integers, fraction, name, source)
        return Line(line.tensor, (*line.shape[:-1], outputs), scale, tuple(offset), pending=pending)

    def multiply(self, line: Line, factors: Sequence[Fraction], label: str) -> Line:
        """Each channel by a factor."""
        if line.rectified and min(factors) < 0:
            line = self._settled(line, label)
        scale = [s * f for s, f in zip(line.spread(line.scale), factors, strict=True)]
        offset = [o * f for o, f in zip(line.spread(line.offset), factors, strict=True)]
        return replace(line, scale=compact(scale), offset=compact(offset))

    def add(self, line: Line, constant: Constant, sign: int, label: str) -> Line:
        """A bias. One that is quantised on the accumulator's own step counts as integers of that step."""
        values = fractions_of(constant.per_channel(line.channels, label))
        if constant.integers is not None and constant.scale is not None:
            integers = constant.per_channel(line.channels, label, constant.integers)
            steps = fractions_of(constant.per_channel(line.channels, label, constant.scale))
            scales = line.spread(line.scale)
            if all(s > 0 and abs(step - s) <= s * SAME_SCALE for step, s in zip(steps, scales, strict=True)):
                values = [int(i) * s for i, s in zip(integers, scales, strict=True)]
        return self.shift(line, [sign * value for value in values], label)

    def shift(self, line: Line, values: Sequence[Fraction], label: str) -> Line:
        """Each channel plus a value."""
        if line.rectified:
            line = self._settled(line, label)
        return replace(line, offset=compact([o + v for o, v in zip(line.spread(line.offset), values, strict=True)]))

    def reshape(
        self, value: RealInput | Line, operation: Reshape, name: str, source: str, label: str
    ) -> RealInput | Line:
        """The same elements in another shape."""
        if operation.shape == value.shape:
            return value
        if isinstance(value, RealInput):
            return RealInput(operation.shape, (*value.moves, (operation, name, source)))
        value = self._emitted(value, label)
        if len(set(value.scale)) != 1 or len(set(value.offset)) != 1:
            raise UnsupportedModel(f"{label}: reshapes a tensor with a scale or bias a channel; quantise it first")
        tensor = self.builder.add(operation, value.tensor, name=name, source=source)
        return replace(value, tensor=tensor, shape=operation.shape, scale=value.scale[:1], offset=value.offset[:1])

    def requantise(self, line: Line, quantiser: Quantiser, name: str, source: str, label: str) -> Line:
        """Apply a quantiser: as a shift where one is exact, else as thresholds."""
        steps = quantiser.steps(line.channels, label)
        line = self._emitted(line, label)
        shifted = self._as_shift(line, quantiser, steps, name, source)
        if shifted is not None:
            return shifted
        count = quantiser.highest - quantiser.lowest
        if count > MAXIMUM_STEPS:
            raise UnsupportedModel(
                f"{label}: needs {count} thresholds a channel, more than {MAXIMUM_STEPS}; use fewer bits, or power-of-two scales"
            )
        element = self.builder.type(line.tensor).element
        single = len(set(line.scale)) == len(set(line.offset)) == len(set(steps)) == 1
        channels = 1 if single else line.channels
        table = accumulator_thresholds(
            scale=line.spread(line.scale)[:channels],
            offset=line.spread(line.offset)[:channels],
            quantiser_step=line.spread(steps)[:channels],
            zero_point=quantiser.zero_point,
            lowest=quantiser.lowest,
            highest=quantiser.highest,
            rounding=quantiser.rounding,
            rectify=line.rectified,
            always=element.minimum,
            is_bipolar=quantiser.is_bipolar,
        )
        # A threshold beyond the interval is never reached, however far; keep the constants small.
        table = np.minimum(table, element.maximum + 1)
        always = int(np.cumprod((table == element.minimum).all(axis=0)).sum())
        always = min(always, table.shape[1] - 1)
        exponent = power_of_two(steps[0]) if len(set(steps)) == 1 else None
        operation = Threshold(
            table[:, always:],
            offset=quantiser.lowest + always - quantiser.zero_point,
            fraction=0 if exponent is None else -exponent,
        )
        tensor = self.builder.add(operation, line.tensor, name=name, source=source)
        return Line(tensor, line.shape, compact(line.spread(steps)))

    def _as_shift(self, line: Line, quantiser: Quantiser, steps: Fractions, name: str, source: str) -> Line | None:
        if quantiser.is_bipolar or quantiser.zero_point != 0 or len(set(steps)) != 1 or len(set(line.scale)) != 1:
            return None
        exponent = power_of_two(line.scale[0] / steps[0])
        if exponent is None:
            return None
        thresholds_possible = quantiser.highest - quantiser.lowest <= MAXIMUM_STEPS
        biased = self._with_bias(line, 0 if thresholds_possible else _MAXIMUM_EXTRA_FRACTION)
        if biased is None:
            return None
        fraction = self.builder.type(line.tensor).element.fraction + exponent
        # Rounding is monotonic and keeps 0, so the rectifier is the same as a lower end of 0.
        lowest = max(0, quantiser.lowest) if line.rectified else quantiser.lowest
        target = IntegerType.spanning(lowest, quantiser.highest, fraction)
        operation = Requantise(target, quantiser.rounding, Overflow.SATURATE)
        tensor = self.builder.add(operation, biased.tensor, name=name, source=source)
        return Line(tensor, line.shape, steps[:1])

    def finish(self, line: Line, *, name: str, host_function: str) -> None:
        """Make the line the graph's output."""
        line = self._emitted(line, self._where)
        if line.rectified:
            line = self._settled(line, self._where)
        biased = self._with_bias(line, 0)
        line = line if biased is None else biased
        fraction = self.builder.type(line.tensor).element.fraction
        self.builder.output(
            line.tensor,
            name=name,
            scale=tuple(float(s * Fraction(2) ** fraction) for s in line.scale),
            offset=tuple(float(o) for o in line.offset),
            host_function=host_function,
        )

    def _emitted(self, line: Line, label: str) -> Line:
        """The line with its product in the graph and every scale positive."""
        pending = line.pending
        if pending is None:
            if min(line.scale) <= 0:
                raise UnsupportedModel(
                    f"{label}: a factor that is not positive, without a matrix product before it to take its sign"
                )
            return line
        weights = pending.weights
        if min(line.scale) <= 0:
            scale = line.spread(line.scale)
            signs = np.array([(s > 0) - (s < 0) for s in scale])
            weights = weights * signs
            # A channel with factor 0 has weights 0 now: any scale serves.
            fallback = next((abs(s) for s in scale if s), Fraction(1))
            line = replace(line, scale=compact([abs(s) or fallback for s in scale]))
        operation: Operation = Dense(weights, pending.weight_fraction)
        tensor = self.builder.add(operation, line.tensor, name=pending.name, source=pending.source)
        return replace(line, tensor=tensor, pending=None, source=pending.source)

    def _settled(self, line: Line, label: str) -> Line:
        """The line in the graph, with its rectifier applied to integers."""
        line = self._emitted(line, label)
        if not line.rectified:
            return line
        biased = self._with_bias(line, _MAXIMUM_EXTRA_FRACTION)
        if biased is None:
            raise UnsupportedModel(
                f"{label}: a Relu of a bias that is not on its steps, not quantised; put a quantiser after it"
            )
        tensor = self.builder.add(Relu(), biased.tensor, name=f"{line.tensor}/relu", source=line.source)
        return replace(biased, tensor=tensor, rectified=False)

    def _with_bias(self, line: Line, extra_fraction: int) -> Line | None:
        """The line with its offset added as integers, on at most `extra_fraction` more fraction bits; None where impossible."""
        if not any(line.offset):
            return line
        ratios = [o / s for o, s in zip(line.spread(line.offset), line.spread(line.scale), strict=True)]
        extra = max(ratio.denominator.bit_length() - 1 for ratio in ratios)
        if any(ratio.denominator & (ratio.denominator - 1) for ratio in ratios) or extra > extra_fraction:
            return None
        bias = np.array([int(ratio * (1 << extra)) for ratio in ratios], dtype=object)
        fraction = self.builder.type(line.tensor).element.fraction + extra
        tensor = self.builder.add(AddBias(bias, fraction), line.tensor, name=f"{line.tensor}/bias", source=line.source)
        scale = tuple(s / (1 << extra) for s in line.scale)
        return replace(line, tensor=tensor, scale=scale, offset=(Fraction(0),))
