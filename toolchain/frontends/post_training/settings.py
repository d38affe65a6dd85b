# SPDX-License-Identifier: Apache-2.0
"""What a person asks of post-training quantisation: samples, bits, and how ranges are found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends.model_folder import Vectors, load_vectors
from toolchain.frontends.real_input import InputType

METHODS = ("mse", "minmax", "percentile", "entropy")
#: Fewer samples than this say too little about a range.
MINIMUM_SAMPLES = 16
MINIMUM_BITS, MAXIMUM_BITS = 2, 16
INPUT_BITS = 8


@dataclass(frozen=True)
class Calibration:
    """Samples to find the ranges of activations from, and the settings of the quantisation.

    samples: an .npz file with an array `x` (samples, *input shape) and optionally `y_true`, class numbers; or the array `x`.
    vectors: held-out samples in the same form, for the accuracy before and after; without them it is that on the calibration
        samples, and says so.
    weight_bits, activation_bits: 2 to 16. input_bits: of the model's input; None is the larger of `activation_bits` and 8.
    per_channel: whether each output channel of a layer has a step of its own; the last layer always has one for all, so that
        its results can be compared as integers.
    method: how ranges are found. 'mse': the step of the least mean squared error, for weights too; 'minmax': nothing is
        clipped; 'percentile': the given share of the values lies inside; 'entropy': the least Kullback-Leibler divergence
        between the histograms before and after. Other methods than 'mse' take the largest weight.
    percentile: for that method, 50 to 100.
    power_of_two: whether steps are powers of two, so that requantising is a shift; else any float32.
    bias_correction: whether biases absorb the mean error that quantisation causes in each channel.
    input_type: of the input, as for `load_model`, in place of one that is found from the samples.
    """

    samples: str | os.PathLike[str] | np.ndarray
    vectors: str | os.PathLike[str] | np.ndarray | None = None
    weight_bits: int = 8
    activation_bits: int = 8
    input_bits: int | None = None
    per_channel: bool = False
    method: str = "mse"
    percentile: float = 99.99
    power_of_two: bool = True
    bias_correction: bool = False
    input_type: str | None = None
    _cache: dict[str, Vectors] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for label in ("weight_bits", "activation_bits", "input_bits"):
            bits = getattr(self, label)
            option = f"--{label.replace('_', '-')}"
            if bits is not None and (type(bits) is not int or not MINIMUM_BITS <= bits <= MAXIMUM_BITS):
                raise UsageError(f"{label} ({option}) must be {MINIMUM_BITS} to {MAXIMUM_BITS}, found {bits!r}")
        if self.method not in METHODS:
            raise UsageError(f"method {self.method!r} is not known; allowed: {', '.join(METHODS)}")
        if not 50 <= self.percentile <= 100:
            raise UsageError(f"percentile must be 50 to 100, found {self.percentile:g}")
        if self.input_type is not None:
            if self.input_bits is not None:
                raise UsageError("give input_type or input_bits, not both: the type says how many bits the input has")
            self.named_input  # noqa: B018  # raises for what is not a type

    @property
    def named_input(self) -> InputType | None:
        return None if self.input_type is None else InputType.parse(self.input_type)

    @property
    def bits_of_input(self) -> int:
        return max(self.activation_bits, INPUT_BITS) if self.input_bits is None else self.input_bits

    def data(self) -> Vectors:
        """The calibration samples. Raises InputError for ones that cannot be used."""
        data = self._load("samples", self.samples)
        if len(data.x) < MINIMUM_SAMPLES:
            raise InputError(
                f"{_where(self.samples)}: holds {len(data.x)} samples; at least {MINIMUM_SAMPLES} are needed to find ranges "
                "from, and a few hundred are usual"
            )
        return data

    def held_out(self) -> Vectors | None:
        return None if self.vectors is None else self._load("vectors", self.vectors)

    def _load(self, label: str, given: Any) -> Vectors:
        if label not in self._cache:
            self._cache[label] = _checked(given) if isinstance(given, np.ndarray) else load_vectors(Path(given))
        return self._cache[label]

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Raise InputError unless samples and vectors have the model's input shape."""
        for given, data in ((self.samples, self.data()), (self.vectors, self.held_out())):
            if data is not None and data.x.shape[1:] != shape:
                raise InputError(
                    f"{_where(given)}: samples have shape {data.x.shape[1:]}, the model's input has {shape}"
                )

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "input": self.input_type or f"{self.bits_of_input} bits",
            "weights": "per channel" if self.per_channel else "per tensor",
            "method": self.method,
            "percentile": self.percentile if self.method == "percentile" else None,
            "steps": "powers of two" if self.power_of_two else "any",
            "bias_correction": self.bias_correction,
        }


def _where(given: Any) -> str:
    return "calibration array" if isinstance(given, np.ndarray) or given is None else str(given)


def _checked(x: np.ndarray) -> Vectors:
    if x.dtype.kind not in "fiub" or x.ndim < 2 or not len(x):
        raise InputError(
            f"calibration array: must hold numbers of shape (samples, ...), found {x.dtype} of shape {x.shape}"
        )
    if not np.isfinite(x).all():
        position = [int(i) for i in np.argwhere(~np.isfinite(x))[0]]
        raise InputError(
            f"calibration array: holds {x[tuple(position)]} in sample {position[0]} at index {position[1:]}; all must be finite"
        )
    return Vectors(x)
