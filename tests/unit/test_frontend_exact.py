# SPDX-License-Identifier: Apache-2.0
"""The exact core of the frontends: whatever becomes of a line, its integers mean what plain fractions say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import elementwise, linear, pooling, shapes
from toolchain.frontends.exact.functions import RECTIFIER, Affine, Clip, Curve, Float32, Function, Leaky
from toolchain.frontends.exact.multiplier import _differences
from toolchain.frontends.exact.quantiser import Quantiser
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.values import Line, Site, Weights, common_step
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import round_exactly
from toolchain.ir import Input, IntegerType, Rounding, interpret

SITE = Site("q", "layer 'q'", "model: layer 'q'")


def begin(channels: int, element: IntegerType, shape: tuple[int, ...] = ()) -> tuple[Walk, Line]:
    """A line of integers with the real values ``integer * 2**-fraction``."""
    walk = Walk("net", "test")
    shape = (*shape, channels)
    tensor = walk.builder.add(Input(shape, element), name="x")
    return walk, Line(tensor, shape, (Fraction(2) ** -element.fraction,))


def run(walk: Walk, line: Line, x: np.ndarray) -> np.ndarray:
    """The exact real values of an emitted line without functions, as fractions."""
    walk.builder.output(line.tensor, name="y")
    graph = walk.builder.build()
    integers = interpret(graph, x)[line.tensor].astype(object)
    scale = np.array(line.spread(line.scale), dtype=object)
    offset = np.array(line.spread(line.offset), dtype=object)
    return np.asarray(integers * scale + offset)


def every_integer(element: IntegerType, channels: int) -> np.ndarray:
    return np.repeat(np.arange(element.minimum, element.maximum + 1)[:, None], channels, axis=1)


def quantised(value: Fraction, quantiser: Quantiser, channel: int) -> Fraction:
    """A quantiser's plain meaning."""
    step = quantiser.steps[channel if len(quantiser.steps) > 1 else 0]
    if quantiser.is_bipolar:
        return step if value >= 0 else -step
    rounded = round_exactly(value / step + quantiser.zero_point, quantiser.rounding)
    return (min(max(rounded, quantiser.lowest), quantiser.highest) - quantiser.zero_point) * step


fractions = st.fractions(-5, 5, max_denominator=12)
positive = st.fractions(Fraction(1, 30), 4, max_denominator=30)
factors = fractions.filter(lambda v: v != 0)


def pairs(values: st.SearchStrategy[Fraction]) -> st.SearchStrategy[tuple[Fraction, ...]]:
    return st.one_of(values.map(lambda v: (v,)), st.tuples(values, values))


functions = st.one_of(
    st.just(RECTIFIER),
    st.tuples(fractions, positive).map(lambda v: Clip(v[0], v[0] + v[1])),
    fractions.map(lambda v: Clip(None, v)),
    pairs(positive).map(Leaky),
    st.tuples(pairs(fractions), pairs(fractions)).map(lambda v: Affine(*v)),
)
quantisers = st.builds(
    Quantiser,
    steps=pairs(positive),
    lowest=st.integers(-9, 0),
    highest=st.integers(1, 9),
    rounding=st.sampled_from(list(Rounding)),
    zero_point=st.integers(-3, 3),
    is_bipolar=st.booleans(),
)


@given(scale=pairs(factors), offset=pairs(fractions), chain=st.lists(functions, max_size=3), quantiser=quantisers)
@settings(max_examples=200, deadline=None)
def test_any_chain_before_any_quantiser(
    scale: tuple[Fraction, ...], offset: tuple[Fraction, ...], chain: list[Function], quantiser: Quantiser
) -> None:
    """Signs, falling and constant channels, clips, slopes, ties: every integer, against fractions."""
    element = IntegerType(True, 6, 2)
    walk, line = begin(2, element)
    line = walk.scaled(line, scale, offset)
    line = replace(line, functions=tuple(chain))
    x = every_integer(element, 2)
    found = run(walk, requantise(walk, line, quantiser, SITE), x)
    for channel in range(2):
        for integer, result in zip(x[:, channel], found[:, channel], strict=True):
            value = Fraction(int(integer), 4) * scale[channel % len(scale)] + offset[channel % len(offset)]
            for function in chain:
                value = function.value(value, channel)
            assert result == quantised(value, quantiser, channel)


@given(scale=positive, offset=fractions, rounding=st.sampled_from(list(Rounding)), zero_point=st.integers(-40, 40))
@settings(max_examples=8, deadline=None)
def test_many_steps_become_a_multiplier_that_is_exact_where_it_says_so(
    scale: Fraction, offset: Fraction, rounding: Rounding, zero_point: int
) -> None:
    element = IntegerType(True, 12, 5)
    walk, line = begin(1, element)
    line = walk.scaled(line, [scale], [offset])
    quantiser = Quantiser((Fraction(1, 3000),), -(1 << 15), (1 << 15) - 1, rounding, zero_point)
    x = every_integer(element, 1)
    result = requantise(walk, line, quantiser, SITE)
    found = run(walk, result, x)[:, 0]
    expected = [quantised(Fraction(int(v), 32) * scale + offset, quantiser, 0) for v in x[:, 0]]
    different = [abs(a - b) * 3000 for a, b in zip(found, expected, strict=True) if a != b]
    assert all(d == 1 for d in different)
    if different:
        assert len(walk.notes) == 1
        assert f"for {len(different)} of the 4096 accumulator values" in walk.notes[0]
    else:
        assert walk.notes == []


@given(
    scale=positive,
    offset=fractions,
    slope=st.sampled_from(
        [Fraction(1, 4), Fraction(3, 8), Fraction(float(np.float32(0.3))), Fraction(5, 2), Fraction(3)]
    ),
    rounding=st.sampled_from([Rounding.HALF_EVEN, Rounding.HALF_UP, Rounding.HALF_ZERO, Rounding.TRUNCATE]),
    zero_point=st.sampled_from([0, 0, 7, -30000]),
)
@settings(max_examples=8, deadline=None)
def test_a_leaky_rectifier_before_many_steps_is_a_second_multiplier(
    scale: Fraction, offset: Fraction, slope: Fraction, rounding: Rounding, zero_point: int
) -> None:
    element = IntegerType(True, 9, 3)
    walk, line = begin(2, element)
    line = walk.scaled(line, [scale, scale / 3], [offset, -offset])
    line = replace(line, functions=(Float32(), Leaky((slope,)), Float32()))
    quantiser = Quantiser((Fraction(1, 3000),), -(1 << 15), (1 << 15) - 1, rounding, zero_point)
    x = every_integer(element, 2)
    found = run(walk, requantise(walk, line, quantiser, SITE), x)
    leaky = Leaky((slope,))
    differing = 0
    for channel, (factor, shift) in enumerate([(scale, offset), (scale / 3, -offset)]):
        for integer, result in zip(x[:, channel], found[:, channel], strict=True):
            expected = quantised(leaky.value(Fraction(int(integer), 8) * factor + shift, channel), quantiser, channel)
            assert abs(result - expected) * 3000 <= 1
            differing += result != expected
    assert differing == (int(walk.notes[0].split(" for ")[1].split()[0]) if walk.notes else 0)


@pytest.mark.parametrize("slopes", [(0.3,), (0.25,), (0.3, 1.5), (0.1, 2.0**-30)])
def test_a_leaky_rectifier_without_a_quantiser_is_exact(slopes: tuple[float, ...]) -> None:
    element = IntegerType(True, 6, 3)
    walk, line = begin(2, element)
    exact = tuple(Fraction(float(np.float32(slope))) for slope in slopes)
    line = replace(walk.scaled(line, [Fraction(1, 8)], [Fraction(1, 16)]), functions=(Leaky(exact),))
    x = every_integer(element, 2)
    found = run(walk, walk.settled(line, SITE), x)
    for channel in range(2):
        values = [Leaky(exact).value(Fraction(int(v), 64) + Fraction(1, 16), channel) for v in x[:, channel]]
        assert found[:, channel].tolist() == values


def test_a_slope_that_no_integers_can_have_is_refused() -> None:
    walk, line = begin(1, IntegerType(True, 6, 3))
    with pytest.raises(UnsupportedModel) as caught:
        walk.settled(replace(line, functions=(Leaky((Fraction(3, 1 << 80),)),)), SITE)
    assert str(caught.value) == (
        f"{SITE.label}: needs the result of a leaky rectifier whose slope 2.48154e-24 is not a multiple of 2**-64; use a larger "
        "slope, or a rectifier"
    )


@pytest.mark.parametrize("offset", [Fraction(0), Fraction(1, 6), Fraction(1, 2)])
@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1, 6), Fraction(2, 7), Fraction(3, 2)])
@pytest.mark.parametrize(
    "rounding",
    [mode for mode in Rounding if mode not in (Rounding.HALF_EVEN, Rounding.HALF_DPU)],
    ids=lambda mode: mode.value,
)
def test_a_bias_makes_a_multiplier_exact_on_every_bound(scale: Fraction, offset: Fraction, rounding: Rounding) -> None:
    """No multiplier is a third, and every third integer is on a bound; up to both ends of the interval."""
    element = IntegerType(True, 13, 0)
    walk, line = begin(1, element)
    line = walk.scaled(line, [scale], [offset])
    quantiser = Quantiser((Fraction(1),), -(1 << 14), (1 << 14) - 1, rounding)
    x = every_integer(element, 1)
    found = run(walk, requantise(walk, line, quantiser, SITE), x)[:, 0]
    expected = [quantised(int(v) * scale + offset, quantiser, 0) for v in x[:, 0]]
    assert found.tolist() == expected
    assert walk.notes == []


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_DPU])
def test_a_multiplier_whose_error_is_left_is_counted(rounding: Rounding) -> None:
    """Ties that no multiplier and bias can hit: some go up, others down."""
    element = IntegerType(True, 15, 0)
    walk, line = begin(1, element)
    line = walk.scaled(line, [Fraction(1, 6)], [Fraction(0)])
    quantiser = Quantiser((Fraction(1),), -(1 << 14), (1 << 14) - 1, rounding)
    x = every_integer(element, 1)
    found = run(walk, requantise(walk, line, quantiser, SITE), x)[:, 0]
    expected = [quantised(Fraction(int(v), 6), quantiser, 0) for v in x[:, 0]]
    differing = [abs(a - b) for a, b in zip(found, expected, strict=True) if a != b]
    assert len(differing) > 1000
    assert set(differing) == {1}
    (note,) = walk.notes
    assert note.endswith(
        f"the result differs by one step for {len(differing)} of the 32768 accumulator values that can occur"
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=9))
def test_differences_of_two_rows_of_steps(pairs: list[tuple[int, int]]) -> None:
    """Counted from where the steps begin, against a count over every integer."""
    exact, fixed = (np.array(sorted(row), dtype=object) for row in zip(*pairs, strict=True))
    each = [abs(int((exact <= v).sum()) - int((fixed <= v).sum())) for v in range(31)]
    assert _differences(exact, fixed) == (sum(d > 0 for d in each), max(each))


def test_a_curve_is_quantised_as_its_float_values_are() -> None:
    element = IntegerType(True, 8, 4)
    walk, line = begin(1, element)
    line = replace(line, functions=(Curve("sine", np.sin),))
    quantiser = Quantiser((Fraction(1, 16),), -16, 15)
    x = every_integer(element, 1)
    found = run(walk, requantise(walk, line, quantiser, SITE), x)[:, 0]
    expected = np.clip(np.rint(np.float32(np.sin(x[:, 0] / 16)) * 16), -16, 15) / 16
    assert [float(v) for v in found] == expected.tolist()
    assert walk.builder.build().nodes[-1].operation.kind == "lookup"  # a sine rises and falls


def test_padding_is_the_integer_of_zero() -> None:
    """An input with a zero point: what is padded means 0, not the integer 0."""
    element = IntegerType(False, 4)
    walk, line = begin(1, element, (3,))
    line = walk.scaled(line, [Fraction(1, 3)], [Fraction(-5, 3)])  # zero point 5
    weights = Weights(np.array([1, -2, 3]).reshape(3, 1, 1), (Fraction(1, 7),))
    result = linear.convolution(walk, line, weights, strides=[1], dilation=[1], padding=[(2, 1)], groups=1, site=SITE)
    x = np.array([[[1], [9], [15]]])
    found = run(walk, walk.emitted(result, SITE), x)[0, :, 0]
    real = [Fraction(0)] * 2 + [Fraction(int(v) - 5, 3) for v in x[0, :, 0]] + [Fraction(0)]
    expected = [sum(real[i + k] * w for k, w in enumerate((1, -2, 3))) / 7 for i in range(4)]
    assert list(found) == expected


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_branches_with_any_scales_meet_exactly(data: st.DataObject) -> None:
    element = IntegerType(True, 4, 1)
    walk, line = begin(2, element)
    scales = [data.draw(pairs(positive)) for _ in range(2)]
    offsets = [data.draw(pairs(fractions)) for _ in range(2)]
    kind = data.draw(st.sampled_from(["add", "subtract", "concatenate"]))
    a, b = (walk.scaled(line, s, o) for s, o in zip(scales, offsets, strict=True))
    if kind == "concatenate":
        result = elementwise.concatenate(walk, [a, b], 0, SITE)
    else:
        result = elementwise.add(walk, a, b, SITE, subtract=kind == "subtract")
    x = np.array([[i, j] for i in range(-8, 8, 3) for j in range(-8, 8, 5)])
    found = run(walk, result, x)
    for row, values in zip(found, x, strict=True):
        first, second = (
            [Fraction(int(v), 2) * s[c % len(s)] + o[c % len(o)] for c, v in enumerate(values)]
            for s, o in zip(scales, offsets, strict=True)
        )
        sign = -1 if kind == "subtract" else 1
        expected = (
            [*first, *second] if kind == "concatenate" else [p + sign * q for p, q in zip(first, second, strict=True)]
        )
        assert list(row) == expected


def test_average_of_windows_at_the_edge() -> None:
    """Windows of 2 and 3 elements: each is divided by its own number of elements."""
    walk, line = begin(1, IntegerType(True, 5, 2), (4,))
    result = pooling.average_pool(
        walk, line, window=[3], strides=[1], padding=[(1, 1)], counts_padding=False, site=SITE
    )
    x = np.array([[[3], [-7], [11], [15]]])
    expected = [Fraction(-4, 2), Fraction(7, 3), Fraction(19, 3), Fraction(26, 2)]
    assert list(run(walk, result, x)[0, :, 0]) == [v / 4 for v in expected]


@pytest.mark.parametrize(("length", "window"), [(4, 3), (1, 3), (2, 3)])
@pytest.mark.parametrize("offset", [Fraction(3, 14), Fraction(1, 3)], ids=["of whole steps", "of others"])
def test_average_at_the_edge_of_values_with_an_offset(length: int, window: int, offset: Fraction) -> None:
    """A window's mean is that of its own elements, also where all windows have as many, or an integer 0 is no real zero."""
    walk, line = begin(1, IntegerType(True, 5, 2), (length,))
    line = walk.scaled(line, [Fraction(2, 7)], [offset])
    result = pooling.average_pool(
        walk, line, window=[window], strides=[1], padding=[(1, 1)], counts_padding=False, site=SITE
    )
    x = np.array([[[3], [-7], [11], [15]]])[:, :length]
    real = [Fraction(int(v), 4) * Fraction(2, 7) + offset for v in x[0, :, 0]]
    windows = [real[max(0, start - 1) : start - 1 + window] for start in range(length)]
    assert run(walk, result, x)[0].tolist() == [[sum(w, Fraction(0)) / len(w)] for w in windows]


def test_transposed_convolution_adds_every_window() -> None:
    random = np.random.default_rng(5)
    walk, line = begin(2, IntegerType(True, 4), (3,))
    weights = random.integers(-4, 5, (3, 2, 2))
    result = linear.transposed_convolution(
        walk, line, Weights(weights, (Fraction(1),)), strides=[2], dilation=[2], cropping=[(1, -1)], groups=1, site=SITE
    )
    x = random.integers(-8, 8, (1, 3, 2))
    full = np.zeros((4 + 5, 2), dtype=int)
    for position in range(3):
        for tap in range(3):
            full[position * 2 + tap * 2] += x[0, position] @ weights[tap]
    expected = np.concatenate([full[1:], np.zeros((1, 2), int)])
    assert (run(walk, walk.emitted(result, SITE), x)[0] == expected).all()


def test_channels_with_their_own_scales_survive_a_flatten_and_a_product() -> None:
    walk, line = begin(2, IntegerType(True, 4), (2,))
    line = walk.scaled(line, [Fraction(1, 3), Fraction(2, 7)])
    flat = shapes.reshape(walk, line, (4,), SITE)
    assert flat.scale == (Fraction(1, 3), Fraction(2, 7)) * 2  # type: ignore[union-attr]
    weights = np.array([[1], [-2], [3], [4]])
    result = linear.dense(walk, flat, Weights(weights, (Fraction(1, 5),)), SITE)  # type: ignore[arg-type]
    x = np.array([[[3, -8], [7, 5]]])
    expected = (Fraction(3, 3) - 2 * Fraction(-16, 7) + 3 * Fraction(7, 3) + 4 * Fraction(10, 7)) / 5
    assert run(walk, walk.emitted(result, SITE), x).tolist() == [[expected]]


def test_channels_that_are_mixed_come_to_one_step() -> None:
    """A transposition puts values with different scales and offsets side by side: all become multiples of one step."""
    walk, line = begin(2, IntegerType(True, 4), (2,))
    uneven = walk.scaled(line, [Fraction(1, 3), Fraction(2, 7)], [Fraction(0), Fraction(5, 42)])
    turned = shapes.transpose(walk, uneven, (1, 0), SITE)
    assert isinstance(turned, Line)
    assert set(turned.scale) == {Fraction(1, 42)}
    x = np.arange(-8, 8).reshape(4, 2, 2)
    exact = x.astype(object) * np.array([Fraction(1, 3), Fraction(2, 7)]) + np.array([Fraction(0), Fraction(5, 42)])
    assert (run(walk, turned, x) == exact.transpose(0, 2, 1)).all()


def test_what_cannot_be_carried_exactly_is_refused_by_name() -> None:
    walk, line = begin(2, IntegerType(True, 4), (2,))
    uneven = walk.scaled(line, [Fraction(1, 3**70), Fraction(1)])
    with pytest.raises(UnsupportedModel, match="model: layer 'q': rearranges a tensor with a scale or bias a channel"):
        shapes.transpose(walk, uneven, (1, 0), SITE)
    sloped = replace(line, functions=(Leaky((Fraction(1, 3),)),))
    with pytest.raises(UnsupportedModel, match=r"slope 0\.333333 is not a multiple of"):
        walk.settled(sloped, SITE)
    clipped = replace(line, functions=(Clip(None, Fraction(1, 3)),))
    with pytest.raises(UnsupportedModel, match="is not a multiple of the step of the values"):
        walk.settled(clipped, SITE)


@given(st.lists(st.fractions(Fraction(1, 50), 50), min_size=1, max_size=5))
def test_common_step_is_the_largest(values: list[Fraction]) -> None:
    step = common_step(values)
    multiples = [v / step for v in values]
    assert all(m.denominator == 1 for m in multiples)
    assert gcd(*(m.numerator for m in multiples)) == 1
