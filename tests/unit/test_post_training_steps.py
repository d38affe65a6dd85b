# SPDX-License-Identifier: Apache-2.0
"""Formats and steps of post-training quantisation, against a search; settings and the text of model.toml."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.frontends.post_training.folder import _toml
from toolchain.frontends.post_training.settings import Calibration
from toolchain.frontends.post_training.steps import Format, best_step, candidates, covering_step

FORMATS = st.builds(Format, st.integers(2, 12), st.booleans(), is_symmetric=st.booleans())


@given(FORMATS, st.floats(0, 1000), st.floats(0, 1000))
def test_the_step_that_covers_a_range(kind: Format, above: float, below: float) -> None:
    """The least power of two with which both ends move by no more than half a step; any step clips neither end."""
    low, high = (-below if kind.signed else 0.0), above

    def covers(step: float) -> bool:
        return high <= (kind.highest + 0.5) * step and low >= (kind.lowest - 0.5) * step

    step = covering_step(kind, low, high, power_of_two=True)
    assert step == 2.0 ** int(np.log2(step))
    if max(above, -low) > 1e-6:
        assert covers(step)
        assert not covers(step / 2)
        free = covering_step(kind, low, high, power_of_two=False)
        assert free == np.float32(free)
        assert step / 2 < free * 1.5
        ends = np.array([low, high])
        assert np.abs(replace(kind, step=free).integers(ends) * free - ends).max() <= free * (0.5 + 1e-6)


def test_values_that_are_all_zero_have_a_step() -> None:
    assert covering_step(Format(8, False), 0.0, 0.0, power_of_two=True) == 2.0**-7
    assert best_step(Format(4, True), np.zeros(3), power_of_two=True) == 2.0**-3


@pytest.mark.parametrize("power_of_two", [True, False])
def test_the_best_step_is_that_of_the_least_error(random: np.random.Generator, *, power_of_two: bool) -> None:
    for bits in (2, 4, 8):
        kind = Format(bits, signed=True, is_symmetric=True)
        values = random.normal(size=5000)  # many: of few values the error jumps from step to step
        values[0] = 8.0
        found = best_step(kind, values, power_of_two=power_of_two)
        finer = 2.0 ** np.arange(-12, 4) if power_of_two else np.geomspace(1e-2, 16, 500)
        least = min(kind.squared_error(values, float(step)) for step in finer)
        assert kind.squared_error(values, found) <= least * (1 if power_of_two else 1.03)
        assert found in candidates(covering_step(kind, -8, 8, power_of_two=power_of_two), power_of_two=power_of_two)


def test_formats() -> None:
    assert (Format(8, True).lowest, Format(8, True).highest, Format(8, True).storage) == (-128, 127, "int8")
    assert (Format(4, True, is_symmetric=True).lowest, Format(4, False).highest) == (-7, 15)
    assert (Format(9, False).storage, Format(2, False).storage) == ("uint16", "uint8")
    assert Format(3, True, 0.5).integers(np.array([0.25, 0.75, -9, 9])).tolist() == [0, 2, -4, 3]


def test_the_bits_of_the_input() -> None:
    x = np.zeros((20, 2))
    assert [Calibration(x, activation_bits=b).bits_of_input for b in (4, 8, 12)] == [8, 8, 12]
    assert Calibration(x, activation_bits=12, input_bits=6).bits_of_input == 6


@given(st.text())
def test_any_text_survives_in_model_toml(text: str) -> None:
    value = text.encode("utf8", "replace").decode("utf8")
    assert tomllib.loads(f"a = {_toml(value)}\nb = {_toml([value, 1, True, 0.25])}") == {
        "a": value, "b": [value, 1, True, 0.25],
    }  # fmt: skip
