# SPDX-License-Identifier: Apache-2.0
"""What a build was asked to do, checked before anything runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path

from toolchain.backends.base import backend_names
from toolchain.errors import BoardError, UsageError
from toolchain.frontends.input_types import InputTypes, input_types
from toolchain.frontends.model_folder import ModelFolder, locate, model_files
from toolchain.pipeline.folding_file import read_folding
from toolchain.resources import BLOCK_RAM, DSP, FF, LUT
from toolchain.target import Device, Target, device_budget, find_board, find_device


class Stage(IntEnum):
    """The named ends of a build, in order."""

    GRAPH = 1
    HLS = 2
    RTL = 3
    NETLIST = 4
    BITSTREAM = 5


#: What the HLS backend takes; its own lists are where hls4ml is (toolchain.backends.hls4ml).
_IO_TYPES = ("io_parallel", "io_stream")
_STRATEGIES = ("latency", "resource", "distributed_arithmetic")
HLS_FLOWS = ("vitis", "vivado", "vivado_accelerator", "quartus", "catapult", "oneapi", "libero")
#: How a budget names resources.
_BUDGET_NAMES = {"LUT": LUT, "FF": FF, "DSP": DSP, "BRAM": BLOCK_RAM, "BLOCK RAM": BLOCK_RAM}
_BUDGET_EXAMPLE = "LUT=20000,DSP=50,BRAM=30"
_LONGEST_LATENCY_US = 1e9
_LEAST_CLOCK_MHZ = 1.0
#: The clock that is aimed for where neither a board nor the user names one.
DEFAULT_CLOCK_MHZ = 100.0


@dataclass(frozen=True)
class Request:
    """A checked build request.

    source: the model file; folder: its model.toml, if it has one. weights: a file of weights for it, or None. vectors: the file of inputs and labels, or None.
    input_types: of inputs that the model does not quantise itself. output: 'auto', 'class' or 'logits'. skip_rungs: rungs of the ladder that are left out.
    io_type (None: by the network), strategy, hls_flows (() for the default): of the HLS projects. hls_cosim: cosimulate their RTL too.
    """

    source: Path
    files: tuple[Path, ...]
    folder: ModelFolder | None
    out: Path
    target: Target
    backend: str
    until: Stage
    vectors: Path | None
    weights: Path | None
    input_types: InputTypes
    output: str
    bulk_vectors: int | None
    skip_rungs: frozenset[int]
    measure: bool
    io_type: str | None = None
    strategy: str = "latency"
    hls_flows: tuple[str, ...] = ()
    hls_cosim: bool = False

    @property
    def name(self) -> str:
        return self.folder.name if self.folder else self.source.stem


def make_request(
    model: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    board: str | None = None,
    part: str | None = None,
    backend: str = "rtl",
    until: str | None = None,
    vectors: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    input_type: str | Sequence[str] | None = None,
    input_samples: str | os.PathLike[str] | None = None,
    input_bits: int | None = None,
    output: str = "auto",
    cycles_per_frame: int | None = None,
    frames_per_second: float | None = None,
    latency_us: float | None = None,
    budget: str | Mapping[str, int] | None = None,
    folding: str | os.PathLike[str] | Mapping[str, Mapping[str, int]] | None = None,
    clock_mhz: float | None = None,
    loadable_weights: bool = False,
    dsp_from_bits: int | None = None,
    bulk_vectors: int | None = None,
    skip_rungs: Sequence[int] = (),
    measure: bool = True,
    io_type: str | None = None,
    strategy: str = "latency",
    hls_flows: Sequence[str] = (),
    hls_cosim: bool = False,
) -> Request:
    """Check the arguments of `toolchain.build_hardware` (see there) and find what they name.

    Raises UsageError, BoardError or InputError with what was found and what is allowed.
    """
    if backend not in backend_names():
        raise UsageError(f"backend {backend!r} is not known; available: {', '.join(backend_names())}")
    if output not in ("auto", "class", "logits"):
        raise UsageError(f"output {output!r} is not known; allowed: auto, class, logits")
    if board and part:
        raise UsageError(f"give --board or --part, not both (found board {board!r} and part {part!r})")
    target = _paced(_target(board, part, clock_mhz, cycles_per_frame), frames_per_second)
    target = _within_budget(_prompt(target, latency_us), budget)
    if backend != "rtl" and (target.latency_cycles is not None or target.budget):
        raise UsageError(
            f"latency_us and budget are targets of backend 'rtl'; found backend {backend!r}. Give that one a pace with "
            "--cycles-per-frame or --frames-per-second, or use --backend rtl"
        )
    if folding is not None and backend == "hls4ml":
        raise UsageError(
            "folding gives PE and SIMD, which hls4ml's layers do not have; found backend 'hls4ml'. Use --strategy resource with "
            "--cycles-per-frame, from which each layer's reuse factor follows, or backend rtl or finn"
        )
    if loadable_weights and backend != "rtl":
        raise UsageError(f"loadable weights are made by backend 'rtl' only, found backend {backend!r}")
    if dsp_from_bits is not None and backend != "rtl":
        raise UsageError(
            f"dsp_from_bits says how the products of backend 'rtl' are built, found backend {backend!r}. The multipliers of the "
            "others are chosen by hls4ml and its compiler, and by FINN"
        )
    if dsp_from_bits is not None and (type(dsp_from_bits) is not int or dsp_from_bits < 1):
        raise UsageError(f"dsp_from_bits must be a whole number of at least 1, found {dsp_from_bits!r}")
    if hls_cosim and backend != "hls4ml":
        raise UsageError(f"a cosimulation is one of backend 'hls4ml', found backend {backend!r}")
    if hls_cosim and {2, 3, 4} & set(skip_rungs):
        raise UsageError("a cosimulation needs rungs 2, 3 and 4; leave out --skip-rung or --hls-cosim")
    target = replace(
        target, loadable_weights=loadable_weights, folding=read_folding(folding), dsp_from_bits=dsp_from_bits
    )
    if bulk_vectors is not None and (type(bulk_vectors) is not int or bulk_vectors < 1):
        raise UsageError(f"bulk_vectors must be a whole number of at least 1, found {bulk_vectors!r}")
    last = _last_stage(backend, until, target)
    file, folder = locate(model)
    types = input_types(input_type, input_samples, input_bits)
    chosen = Path(vectors) if vectors is not None else folder.vectors if folder else None
    return Request(
        source=file,
        files=model_files(model, weights),
        folder=folder,
        out=Path(out),
        target=target,
        backend=backend,
        until=last,
        vectors=chosen,
        weights=Path(weights) if weights is not None else None,
        input_types=types,
        output=output,
        bulk_vectors=bulk_vectors,
        skip_rungs=frozenset(skip_rungs),
        measure=measure,
        io_type=io_type,
        strategy=strategy,
        hls_flows=_hls_flows(io_type, strategy, hls_flows),
        hls_cosim=hls_cosim,
    )


def _hls_flows(io_type: str | None, strategy: str, flows: Sequence[str]) -> tuple[str, ...]:
    """The flows of the HLS backend that were asked for, each once; () for its default. Raises UsageError."""
    asked = (("io_type", (io_type,) if io_type else (), _IO_TYPES), ("strategy", (strategy,), _STRATEGIES))
    for label, values, allowed in (*asked, ("hls_flows", flows, HLS_FLOWS)):
        for value in values:
            if value not in allowed:
                raise UsageError(f"{label} {value!r} is not known; allowed: {', '.join(allowed)}")
    return tuple(dict.fromkeys(flows))


def _target(board: str | None, part: str | None, clock_mhz: float | None, cycles_per_frame: int | None) -> Target:
    if clock_mhz is not None and not _LEAST_CLOCK_MHZ <= clock_mhz < math.inf:
        raise UsageError(f"clock_mhz must be a number of at least {_LEAST_CLOCK_MHZ:g}, found {clock_mhz!r}")
    if cycles_per_frame is not None and (type(cycles_per_frame) is not int or cycles_per_frame < 1):
        raise UsageError(f"cycles_per_frame must be a whole number of at least 1, found {cycles_per_frame!r}")
    if board:
        found = find_board(board)
        return Target(found.device, found, found.core_clock_mhz if clock_mhz is None else clock_mhz, cycles_per_frame)
    device: Device | None = find_device(part) if part else None
    return Target(device, None, DEFAULT_CLOCK_MHZ if clock_mhz is None else clock_mhz, cycles_per_frame)


def _paced(target: Target, frames_per_second: float | None) -> Target:
    """The target with the cycles a frame that a rate leaves at its clock."""
    if frames_per_second is None:
        return target
    if target.cycles_per_frame is not None:
        raise UsageError(
            f"give --frames-per-second or --cycles-per-frame, not both (found {frames_per_second:g} and "
            f"{target.cycles_per_frame})"
        )
    clock_hz = target.clock_mhz * 1e6
    if not 0 < frames_per_second <= clock_hz:
        raise UsageError(
            f"frames_per_second must be above 0 and at most one a cycle, {clock_hz:,.0f} at {target.clock_mhz:g} MHz; found "
            f"{frames_per_second:g}"
        )
    return replace(target, cycles_per_frame=int(clock_hz / frames_per_second))


def _prompt(target: Target, latency_us: float | None) -> Target:
    """The target with the cycles that a latency leaves at its clock."""
    if latency_us is None:
        return target
    shortest_us = 1 / target.clock_mhz
    if not shortest_us <= latency_us <= _LONGEST_LATENCY_US:
        raise UsageError(
            f"latency_us must be at least one cycle, {shortest_us:g} us at {target.clock_mhz:g} MHz, and at most "
            f"{_LONGEST_LATENCY_US:,} us; found {latency_us:g}"
        )
    # A product that is a whole number but for its last bits is that number.
    return replace(target, latency_cycles=int(latency_us * target.clock_mhz * (1 + 1e-12)))


def _within_budget(target: Target, budget: str | Mapping[str, int] | None) -> Target:
    """The target with a budget: 'LUT=20000,DSP=50,BRAM=30', the same as a mapping, or 'device'."""
    if budget is None:
        return target
    if budget == "device":
        shares = device_budget(target.device) if target.device else {}
        if not shares:
            given = f"part {target.device.part!r}" if target.device else "no board or part"
            raise UsageError(
                "budget 'device' needs --board, or a --part whose resources are known, such as LFE5U-85F-6BG381C or "
                f"xc7z020clg400-1; found {given}"
            )
        return replace(target, budget=shares)
    pairs: list[tuple[str, object]] = []
    if isinstance(budget, str):
        for part in budget.split(","):
            name, separator, value = part.partition("=")
            if not separator:
                raise UsageError(
                    f"budget: {part.strip()!r} is not NAME=COUNT; write for example {_BUDGET_EXAMPLE}, or device"
                )
            pairs.append((name.strip(), int(value) if value.strip().isdecimal() else value.strip()))
    else:
        pairs = list(budget.items())
    found: dict[str, int] = {}
    for name, count in pairs:
        resource = _BUDGET_NAMES.get(name.upper())
        if resource is None:
            raise UsageError(f"budget: resource {name!r} is not known; allowed: {', '.join(_BUDGET_NAMES)}, or device")
        if type(count) is not int or count < 0:
            raise UsageError(f"budget: {name} must be a whole number of at least 0, found {count!r}")
        if resource in found:
            raise UsageError(f"budget: {name} is given twice")
        found[resource] = count
    return replace(target, budget=found)


def _last_stage(backend: str, until: str | None, target: Target) -> Stage:
    family = target.device.family if target.device else ""
    # Of a FINN design for AMD's parts there is a netlist to verify, though no place and route.
    synthesised = family == "ecp5" or (backend == "finn" and family in ("xc7", "usplus"))
    if until is None:
        if backend == "hls4ml":
            return Stage.HLS
        return Stage.BITSTREAM if target.board else Stage.NETLIST if synthesised else Stage.RTL
    try:
        last = Stage[until.upper()]
    except KeyError:
        names = [stage.name.lower() for stage in Stage]
        nearest = get_close_matches(until, names, 1)
        hint = f"; nearest: {nearest[0]}" if nearest else ""
        raise UsageError(f"stage {until!r} is not known{hint}. Stages: {', '.join(names)}") from None
    if backend == "hls4ml" and last > Stage.HLS:
        raise UsageError(
            f"backend 'hls4ml' ends at stage hls here: {until} needs the vendor's HLS compiler on the generated project. "
            "Use --until hls, or --backend rtl"
        )
    if last is Stage.BITSTREAM and target.board is None:
        raise BoardError("stage bitstream needs a --board (its pins and clock); `bitwright boards` lists them")
    if last is Stage.NETLIST and not synthesised:
        found = f"part {target.device.part!r} of family {target.device.family}" if target.device else "no board or part"
        raise BoardError(
            f"stage netlist needs a device that the open tools synthesise for, found {found}; "
            "give --board, or an ECP5 --part such as LFE5U-85F-6BG381C"
        )
    return last
