# SPDX-License-Identifier: Apache-2.0
"""The graph under construction: where real inputs become integers, and lines become outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel, UsageError
from toolchain.frontends.exact.functions import Affine, Clip, Float32, Leaky
from toolchain.frontends.exact.quantiser import Quantiser
from toolchain.frontends.exact.ties import Ties
from toolchain.frontends.exact.values import (
    ONE,
    ZERO,
    Line,
    RealInput,
    Site,
    common_step,
    compact,
    power_of_two,
    violations_named,
)
from toolchain.frontends.real_input import InputType, declared_type, narrowed
from toolchain.frontends.thresholds import round_exactly
from toolchain.ir import (
    Add,
    AddBias,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Lookup,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Rounding,
    Scale,
    Threshold,
)

#: Fraction bits that a bias may add to an accumulator to be exact on it.
MAXIMUM_EXTRA_FRACTION = 64
#: Bits that integers may gain where values are brought to a common step.
MAXIMUM_ALIGNMENT_BITS = 96

ASK_FOR_TYPE = (
    "works on inputs that the model has not quantised: give the type that the inputs have in hardware with input_type "
    "(--input-type on the command line; {name}=TYPE where there are several inputs), for example 'fixed<16,6>', 'uint8' or "
    "'uint8*1/255', or samples to choose it from with input_samples (--input-samples FILE.npz), or let the model begin with a "
    "quantiser (QActivation, QuantIdentity)"
)


class Walk:
    """The graph under construction.

    framework: name and version. notes: what is not exact, with its measured bound; they go into the graph's metadata.
    sums_exact: whether the framework's own float32 sums have been exact so far; frontends that know keep it up to date.
    """

    def __init__(self, name: str, framework: str, where: str = "") -> None:
        self.name = name
        self.builder = GraphBuilder(name, {"framework": framework})
        self.where = where
        self.notes: list[str] = []
        self.sums_exact: bool | None = None
        #: For the nodes that quantise: where their steps begin exactly.
        self.ties: dict[str, Ties] = {}
        #: Nodes whose values the framework, as far as the frontend knows, has only up to the rounding of its float32, in an order
        #: that nobody states.
        self.inexact: set[str] = set()
        #: For products: how far the framework's own weights lie from the graph's; see `Weights`.
        self.deviations: dict[str, np.ndarray] = {}
        #: The graph's input of each real input, so that one that is quantised twice in the same way is one input.
        self._inputs: dict[str, tuple[Operation, str]] = {}
        self._sources: dict[str, str] = {}

    # ---- inputs ------------------------------------------------------------------------------------------------------
    def declared_input(self, value: RealInput, named: InputType, real_range: tuple[float, float] | None) -> Line:
        """The graph's input in a type that the user gave, or that the file declares."""
        kind, beyond = declared_type(named, real_range)
        operation = Input(value.host_shape, kind, scale=float(named.scale), out_of_range=beyond, axes=value.host_axes)
        tensor = self._input(operation, value, value.source)
        line = Line(tensor, value.shape, (named.step,), axes=value.axes)
        if (value.factor, value.shift, value.low, value.high) != (ONE, ZERO, None, None):
            raise AssertionError("a declared input begins the walk")
        return line

    def quantised_input(
        self, value: RealInput, quantiser: Quantiser, real_range: tuple[float, float] | None, site: Site
    ) -> Line:
        """The graph's input as the model's first quantiser makes it."""
        if quantiser.is_bipolar or len(set(quantiser.steps)) != 1 or value.factor <= 0:
            raise UnsupportedModel(
                f"{site.label}: quantises the input with one bit, a scale a channel or a negative factor; give the input "
                "a type (--input-type), and this step is done in the graph"
            )
        step, zero_point = quantiser.steps[0], quantiser.zero_point
        lowest, highest = quantiser.lowest, quantiser.highest
        if value.low is not None:
            lowest = max(lowest, round_exactly(value.low / step + zero_point, quantiser.rounding))
        if value.high is not None:
            highest = min(highest, round_exactly(value.high / step + zero_point, quantiser.rounding))
        if lowest > highest:
            raise UnsupportedModel(
                f"{site.label}: its range holds none of the values that are left after the clip before it"
            )
        if real_range is not None:
            ends = sorted(float(value.factor * Fraction(v) + value.shift) for v in real_range)
            real_range = (ends[0], ends[1])
        exponent = power_of_two(step / value.factor)
        fraction = 0 if exponent is None else -exponent
        element, out_of_range = narrowed(
            IntegerType.spanning(lowest, highest, fraction),
            real_range,
            step=step,
            zero_point=zero_point,
            rounding=quantiser.rounding,
        )
        operation = Input(
            value.host_shape,
            element,
            scale=1.0 if exponent is not None else float(step / value.factor),
            offset=float((-zero_point * step - value.shift) / value.factor),
            rounding=quantiser.rounding,
            out_of_range=out_of_range,
            axes=value.host_axes,
        )
        tensor = self._input(operation, value, f"{value.source}, {site.source}")
        return Line(tensor, value.shape, (step,), (-zero_point * step,), axes=value.axes)

    def _input(self, operation: Input, value: RealInput, source: str) -> str:
        known = self._inputs.get(value.name)
        if known is not None and known[0] != operation:
            raise UnsupportedModel(
                f"{value.source}: is quantised in two different ways; give its type (--input-type), and both are done in "
                "the graph"
            )
        if known is None:
            known = (operation, self.builder.add(operation, name=value.name, source=source))
            self._inputs[value.name] = known
        tensor = known[1]
        for move, site in value.moves:
            tensor = self.builder.add(move, tensor, name=site.name, source=site.source)
        return tensor

    def is_input(self, tensor: str) -> bool:
        """Whether it is one of the graph's inputs."""
        return any(known == tensor for _, known in self._inputs.values())

    def line(self, value: Any, site: Site) -> Line:
        """`value` if it is a line, else an error that says what is missing."""
        if isinstance(value, Line):
            return value
        if isinstance(value, RealInput):
            raise UsageError(f"{site.label} {ASK_FOR_TYPE.format(name=value.name)}")
        raise UnsupportedModel(
            f"{site.label}: works on constants only; supported is at least one tensor that the input reaches"
        )

    # ---- meanings ----------------------------------------------------------------------------------------------------
    def add(self, operation: Operation, *tensors: str, site: Site) -> str:
        name = self.builder.add(operation, *tensors, name=site.name, source=site.source)
        self._sources[name] = site.source
        return name

    def element(self, line: Line) -> IntegerType:
        """The integers' type. The line must be emitted."""
        return self.builder.type(line.tensor).element

    def scaled(self, value: Line, factors: Sequence[Fraction], offsets: Sequence[Fraction] = (ZERO,)) -> Line:
        """``value * factors[c] + offsets[c]``; one entry serves all channels."""
        if value.functions:
            return replace(value, functions=(*value.functions, Affine(compact(factors), compact(offsets))))
        scale = [s * f for s, f in zip(value.spread(value.scale), value.spread(factors), strict=True)]
        offset = [
            o * f + b
            for o, f, b in zip(value.spread(value.offset), value.spread(factors), value.spread(offsets), strict=True)
        ]
        return replace(value, scale=compact(scale), offset=compact(offset))

    def emitted(self, line: Line, site: Site) -> Line:
        """The line with its product in the graph and every scale positive."""
        if line.pending is None and min(line.scale) > 0:
            return line
        scale = line.spread(line.scale)
        signs = [(s > 0) - (s < 0) for s in scale]
        if min(signs) <= 0:
            # A channel with factor 0 gets integers 0: any scale serves.
            fallback = next((abs(s) for s in scale if s), ONE)
            line = replace(line, scale=compact([abs(s) or fallback for s in scale]))
        pending = line.pending
        if pending is None:
            factors = np.array(signs if len(set(signs)) > 1 else signs[:1])
            return replace(line, tensor=self.add(Scale(factors), line.tensor, site=site.inner("sign")))
        weights = pending.weights * np.array(signs) if min(signs) <= 0 else pending.weights
        tensor = self.add(pending.make(weights, pending.weight_fraction), line.tensor, site=pending.site)
        if pending.deviations is not None:
            self.deviations[tensor] = pending.deviations
            self.inexact.add(tensor)
        return replace(line, tensor=tensor, pending=None)

    def is_inexact(self, tensor: str) -> bool:
        """Whether an inexact value is on the way to `tensor` from the last quantised ones."""
        nodes = {node.name: node for node in self.builder.nodes}
        waiting, seen = [tensor], {tensor}
        while waiting:
            name = waiting.pop()
            if name in self.inexact:
                return True
            operation = nodes[name].operation
            # A Requantise without ties clips or aligns only.
            if name in self.ties or isinstance(operation, (Lookup, Threshold)):
                continue
            waiting += [before for before in nodes[name].inputs if before not in seen]
            seen.update(nodes[name].inputs)
        return False

    def settled(self, line: Line, site: Site) -> Line:
        """The line in the graph without functions: each is applied to integers, where that is exact."""
        line = self.emitted(line, site)
        functions = line.functions
        line = replace(line, functions=())
        for function in functions:
            if isinstance(function, Affine):
                line = self.emitted(self.scaled(line, function.scale, function.offset), site)
            elif isinstance(function, Clip):
                line = self._clipped(line, function, site)
            elif isinstance(function, Leaky):
                line = self._leaky(line, function, site)
            elif isinstance(function, Float32):
                self.sums_exact = False  # the graph goes on with the exact value, the framework with the rounded one
            else:
                raise UnsupportedModel(
                    f"{site.label}: needs the result of {function}, which is not quantised; put a quantiser before it"
                )
        return line

    def _clipped(self, line: Line, clip: Clip, site: Site) -> Line:
        if not self.cuts(line, clip):
            return line
        line = self.biased(line, site)
        if clip.low == 0 and clip.high is None:
            return replace(line, tensor=self.add(Relu(), line.tensor, site=site.inner("relu")))
        element = self.element(line)
        bounds = []
        for bound, end in ((clip.low, element.minimum), (clip.high, element.maximum)):
            if bound is None:
                bounds.append(end)
                continue
            whole = [bound / s for s in line.scale]
            if len(set(whole)) != 1 or whole[0].denominator != 1:
                raise UnsupportedModel(
                    f"{site.label}: needs the result of a clip at {float(bound):g}, which is not a multiple of the step of the "
                    "values; put a quantiser after the clip"
                )
            bounds.append(whole[0].numerator)
        low, high = (min(max(b, element.minimum), element.maximum) for b in bounds)
        target = IntegerType.spanning(low, high, element.fraction)
        operation = Requantise(target, Rounding.TRUNCATE, Overflow.SATURATE)
        return replace(line, tensor=self.add(operation, line.tensor, site=site.inner("clip")))

    def cuts(self, line: Line, clip: Clip) -> bool:
        """Whether a clip changes any value that an emitted line without functions can have."""
        element = self.element(line)
        pairs = list(zip(line.spread(line.scale), line.spread(line.offset), strict=True))
        lowest = min(s * element.minimum + o for s, o in pairs)
        highest = max(s * element.maximum + o for s, o in pairs)
        return (clip.low is not None and lowest < clip.low) or (clip.high is not None and highest > clip.high)

    def _leaky(self, line: Line, function: Leaky, site: Site) -> Line:
        line = self.biased(line, site)
        common = lcm(*(slope.denominator for slope in function.slope))
        extra = common.bit_length() - 1
        if common != 1 << extra or extra > MAXIMUM_EXTRA_FRACTION:
            raise UnsupportedModel(
                f"{site.label}: needs the result of a leaky rectifier whose slope {float(min(function.slope)):g} is not a multiple of "
                f"2**-{MAXIMUM_EXTRA_FRACTION}; use a larger slope, or a rectifier"
            )
        factors = [(slope * common).numerator for slope in function.slope]
        tensor = self.two_sided(line.tensor, factors, extra, site)
        return replace(line, tensor=tensor, scale=tuple(s / common for s in line.scale))

    def two_sided(self, tensor: str, factors: Sequence[int], extra: int, site: Site) -> str:
        """``x * 2**extra`` where x is not negative, else ``x * factors[c]``: integers on `extra` more fraction bits."""
        if list(factors) == [1]:
            return self.add(Relu(extra), tensor, site=site.inner("leaky"))
        above = self.add(Relu(), tensor, site=site.inner("above"))
        turned = self.add(Scale(np.array([-1])), tensor, site=site.inner("turned"))
        below = self.add(Relu(), turned, site=site.inner("below"))
        slopes = np.array([-factor for factor in factors], dtype=object)
        sloped = self.add(Scale(slopes, extra), below, site=site.inner("slope"))
        return self.add(Add(), above, sloped, site=site.inner("leaky"))

    def without_rounding(self, line: Line) -> Line:
        """The line without the roundings to float32 on the way: the graph goes on with the exact value."""
        functions = tuple(function for function in line.functions if not isinstance(function, Float32))
        if len(functions) < len(line.functions):
            self.sums_exact = False
        return replace(line, functions=functions)

    def biased(self, line: Line, site: Site) -> Line:
        """The line with its offset added to the integers, on a finer step where need be; raises where that takes too many bits."""
        result = self.with_bias(line, MAXIMUM_EXTRA_FRACTION, site)
        if result is not None:
            return result
        step = common_step([*line.scale, *(abs(o) for o in line.offset if o)])
        if (max(line.scale) / step).numerator.bit_length() > MAXIMUM_ALIGNMENT_BITS:
            raise UnsupportedModel(
                f"{site.label}: needs a result whose bias is not on the step of the values, not quantised; put a quantiser "
                "after the bias"
            )
        bias = np.array([(o / step).numerator for o in line.spread(line.offset)], dtype=object)
        line = self.aligned(line, step, self.element(line).fraction, site)
        name = self._bias_of(line, site)
        tensor = self.add(AddBias(bias, self.element(line).fraction), line.tensor, site=name)
        return replace(line, tensor=tensor, offset=(ZERO,))

    def _bias_of(self, line: Line, site: Site) -> Site:
        """The place of a bias: with the layer that it belongs to, not with the one that needs the sum."""
        return Site(f"{line.tensor}/bias", self._sources.get(line.tensor, site.source), site.label)

    def uniform(self, line: Line, site: Site, why: str) -> Line:
        """The line as whole multiples of one step, the same in every channel, without offset where channels differ.

        why: the end of the message where that takes too many bits.
        """
        line = self.settled(line, site)
        if line.is_uniform:
            return line
        line = line if len(set(line.offset)) == 1 else self.biased(line, site)
        step = common_step(line.scale)
        if (max(line.scale) / step).numerator.bit_length() > MAXIMUM_ALIGNMENT_BITS:
            raise UnsupportedModel(f"{site.label}: {why}")
        return self.aligned(line, step, self.element(line).fraction, site)

    def with_bias(self, line: Line, extra_fraction: int, site: Site) -> Line | None:
        """The line with its offset added as integers, on at most `extra_fraction` more fraction bits; None where impossible."""
        if not any(line.offset):
            return line
        ratios = [o / s for o, s in zip(line.spread(line.offset), line.spread(line.scale), strict=True)]
        extra = max(ratio.denominator.bit_length() - 1 for ratio in ratios)
        if any(ratio.denominator & (ratio.denominator - 1) for ratio in ratios) or extra > extra_fraction:
            return None
        bias = np.array([int(ratio * (1 << extra)) for ratio in ratios], dtype=object)
        fraction = self.element(line).fraction + extra
        name = self._bias_of(line, site)
        tensor = self.add(AddBias(bias, fraction), line.tensor, site=name)
        return replace(line, tensor=tensor, scale=tuple(s / (1 << extra) for s in line.scale), offset=(ZERO,))

    def aligned(self, line: Line, step: Fraction, fraction: int, site: Site) -> Line:
        """A settled line without offset as whole multiples of `step` at the binary point `fraction`."""
        factors = [s / step for s in line.spread(line.scale)]
        if any(f.denominator != 1 for f in factors):
            raise AssertionError("the step must divide every scale")
        element = self.element(line)
        shift = fraction - element.fraction
        if shift >= 0 and set(factors) == {Fraction(1 << shift)}:
            if shift == 0:
                return line
            target = IntegerType.spanning(element.minimum << shift, element.maximum << shift, fraction)
            tensor = self.add(Requantise(target, overflow=Overflow.SATURATE), line.tensor, site=site.inner("align"))
        else:
            values = [f.numerator for f in factors]
            array = np.array(values if len(set(values)) > 1 else values[:1], dtype=object)
            tensor = self.add(Scale(array, shift), line.tensor, site=site.inner("scale"))
        return replace(line, tensor=tensor, scale=(step,))

    # ---- outputs -----------------------------------------------------------------------------------------------------
    def output(self, line: Line, *, name: str, host_function: str, site: Site) -> None:
        """Make the line an output of the graph."""
        line = self.settled(line, site)
        biased = self.with_bias(line, 0, site)
        line = line if biased is None else biased
        fraction = self.element(line).fraction
        self.builder.output(
            line.tensor,
            name=name,
            scale=tuple(float(s * Fraction(2) ** fraction) for s in line.scale),
            offset=tuple(float(o) for o in line.offset),
            host_function=host_function,
            axes=line.axes,
        )

    def finish(self) -> Graph:
        """The checked graph, with what is known about exactness in its metadata."""
        with violations_named(self.where or f"model {self.name!r}"):
            graph = self.builder.build()
        extra = {} if self.sums_exact is None else {"framework_sums_exact": "yes" if self.sums_exact else "no"}
        if self.notes:
            extra["approximations"] = "\n".join(self.notes)
        return replace(graph, metadata={**graph.metadata, **extra})
