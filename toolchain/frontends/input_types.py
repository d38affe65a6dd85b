# SPDX-License-Identifier: Apache-2.0
"""What the user says about the types of a model's inputs, and which inputs that counts for.

A model with one input takes the type that was named for it, whether it quantises that input itself or not; its own quantiser
is a step of the graph then. Of several inputs a type without a name, and samples, count for those that the model does not
quantise itself: that it can be read without is found by reading it. NAME=TYPE counts for input NAME in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from toolchain.errors import ToolchainError, UsageError
from toolchain.frontends.input_samples import DEFAULT_BITS, SampledType, choose_input_type, effect_of, require_numbers
from toolchain.frontends.model_folder import array_of_input, input_arrays, load_arrays, load_vectors
from toolchain.frontends.real_input import InputType

Read = TypeVar("Read")


@dataclass(frozen=True)
class GivenType:
    """The type of one input. sampled: what it does to samples, or None without any. by_name: whether it names this very input."""

    type: InputType
    sampled: SampledType | None = None
    by_name: bool = False


@dataclass(frozen=True)
class InputTypes:
    """What the user says: nothing, a type for all inputs, types by the inputs' names, samples.

    every: the type without a name, or None; with samples `x` the one that these chose. sampled: what it does to those samples.
    named: by input. samples: arrays for single inputs, by the arrays' names. bits: the widest type that samples may choose, or
    None for the default.
    """

    every: InputType | None = None
    sampled: SampledType | None = None
    named: Mapping[str, InputType] = field(default_factory=dict)
    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    bits: int | None = None

    def __bool__(self) -> bool:
        return bool(self.every is not None or self.named or self.samples)

    @classmethod
    def of(cls, given: InputTypes | str | Sequence[str] | None) -> InputTypes:
        """Types as text: TYPE, NAME=TYPE, or several of these of which at most one has no name. Raises UsageError."""
        if isinstance(given, InputTypes):
            return given
        every: InputType | None = None
        named: dict[str, InputType] = {}
        for text in [given] if isinstance(given, str) else given or ():
            name, equals, type_text = text.rpartition("=")
            found = InputType.parse(type_text)
            if equals and not name:
                raise UsageError(
                    f"input type {text!r}: the name of an input is missing before '='; write NAME=TYPE, or TYPE alone"
                )
            if name in named or (not equals and every is not None):
                whose = f"for input {name!r}" if equals else "without an input's name"
                raise UsageError(f"input type {text!r}: is the second one {whose}; give one")
            if equals:
                named[name] = found
            else:
                every = found
        return cls(every, named=named)

    @property
    def identity(self) -> list[str]:
        """What decides the types, for the key of a stage that depends on them."""
        arrays = [
            f"{name}: {array.dtype} {array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"
            for name, array in sorted(self.samples.items())
        ]
        types = [f"{name}={kind}" for name, kind in sorted(self.named.items())]
        return [str(self.every), str(self.sampled), str(self.bits), *types, *arrays]

    def of_inputs(self, names: Sequence[str], where: str) -> dict[str, GivenType]:
        """The type of each of a model's inputs that one is given for. Raises UsageError for types and samples of no input."""
        listed = ", ".join(repr(name) for name in names)
        unknown = [name for name in self.named if name not in names]
        if unknown:
            raise UsageError(
                f"{where}: has no input {unknown[0]!r}, for which an input type is named; its input{'s' * (len(names) > 1)}: {listed}"
            )
        arrays = {name: array_of_input(name, self.samples) for name in names}
        if self.samples and not any(arrays.values()):
            raise UsageError(
                f"{where}: input_samples (--input-samples) hold {list(self.samples)}, none of which is of an input; the model's "
                f"input{'s' * (len(names) > 1)}: {listed}. Name each array as its input, or x_NAME, or for a single input x"
            )
        given = {}
        for name in names:
            key, by_name = arrays[name], name in self.named
            kind, sampled = self.named.get(name, self.every), self.sampled
            if len(names) > 1 and sampled is not None:
                if "x" in names and name != "x":  # then the samples `x` are those of the input of this name
                    kind = self.named.get(name) if sampled.chosen else kind
                    sampled = None
                elif "x" not in names:
                    sampled = replace(sampled, shape=())  # they stand for inputs of several shapes
            if key is not None and key != "x":
                array = self.samples[key]
                require_numbers(array, f"input_samples {key!r}")
                found = _sampled(kind, array, self.bits)
                given[name] = GivenType(found.type, found, by_name)
            elif kind is not None:
                given[name] = GivenType(kind, None if by_name else sampled, by_name)
        if self.bits is not None and not any(kind.sampled and kind.sampled.chosen for kind in given.values()):
            raise UsageError(
                f"{where}: input_bits (--input-bits {self.bits}) chooses a type, and one is named already for every input that has "
                "samples"
            )
        return given


def input_types(
    given: InputTypes | str | Sequence[str] | None, samples: Any = None, bits: int | None = None
) -> InputTypes:
    """What is given as types and as samples, together; of samples `x` the type is found here.

    samples: an .npz file with an array `x`, or one for each input by its name or x_NAME; or the array, of any number of samples;
    or None. bits: the widest type that may be chosen, `DEFAULT_BITS` where left out. Raises UsageError for bits without samples or
    beside a type, InputError for samples that cannot be read.
    """
    types = InputTypes.of(given)
    if samples is None:
        if bits is not None:
            raise UsageError(
                "input_bits (--input-bits) belongs to samples to choose the input type from (--input-samples)"
            )
        return types
    if types.every is not None and bits is not None:
        raise UsageError(
            f"input_bits (--input-bits {bits}) chooses a type, and one is named already: {str(types.every)!r}"
        )
    if isinstance(samples, np.ndarray):
        arrays = {"x": samples}
    else:
        arrays = input_arrays(load_arrays(Path(samples)))
        if not set(arrays) - {"x"}:
            arrays = {"x": load_vectors(Path(samples)).x}
    x = arrays.get("x")
    every, sampled = types.every, None
    if x is not None:
        require_numbers(x, "input_samples")
        sampled = _sampled(every, x, bits)
        every = sampled.type
    return InputTypes(every, sampled, types.named, {name: array for name, array in arrays.items() if name != "x"}, bits)


def _sampled(named: InputType | None, x: np.ndarray, bits: int | None) -> SampledType:
    """What samples say of a type that is named, or which one they choose."""
    if named is not None:
        return effect_of(named, x)
    return choose_input_type(x, DEFAULT_BITS if bits is None else bits)


def read_with_types(
    types: InputTypes, names: Sequence[str], where: str, read: Callable[[dict[str, GivenType]], Read]
) -> Read:
    """What `read` gives with the types that count: of several inputs those named, and others where the model needs them.

    names: the inputs that a type may be given for. read: from the types of inputs to the model; it raises a ToolchainError where
    an input has neither a type nor a quantiser.
    """
    given = types.of_inputs(names, where)
    found = read(given)
    if len(names) == 1:
        return found
    for name in [name for name, kind in given.items() if not kind.by_name]:
        fewer = {other: kind for other, kind in given.items() if other != name}
        try:
            found = read(fewer)
        except ToolchainError:
            continue
        given = fewer
    return found
