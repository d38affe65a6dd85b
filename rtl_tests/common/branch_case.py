# SPDX-License-Identifier: Apache-2.0
"""One instance under test of a kernel with several inputs or several outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from rtl_tests.common.branch_contract import BranchContract


@dataclass(frozen=True)
class BranchCase:
    """What the common tests need to know about one instance; `Case` for several ports.

    inputs, outputs: prefix of each port's signals and bits of its beat; ports are counted in this order.
    frame: draws one frame, as packed beats of each input. expected: its packed beats of each output.
    first_output, interval: while nothing stalls, cycles from the acceptance of a frame's first beat (on whichever input it
    is accepted first) to the offer of its first beat on each output, and between the first beats of two frames on each
    port.
    The other fields are those of `Case`.
    """

    name: str
    module: str
    parameters: Mapping[str, int | str]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    frame: Callable[[Random], list[list[int]]]
    expected: Callable[[Sequence[Sequence[int]]], list[list[int]]]
    contract: Callable[[], BranchContract]
    first_output: int
    interval: int
    files: Mapping[str, tuple[int, Sequence[int]]] = field(default_factory=dict)

    #: The module with the cocotb tests that every such case has to pass.
    tests: ClassVar[str] = "rtl_tests.common.branch_bench"
