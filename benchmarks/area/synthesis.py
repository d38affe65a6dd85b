# SPDX-License-Identifier: Apache-2.0
"""Synthesis of many small designs in one run of Yosys, and of whole networks, with results kept on disk.

For ECP5 with the commands of the product (toolchain/build/tools/ecp5_mapping.py), for xc7 with `synth_xilinx -family xc7 -abc9`, as
`benchmarks/finn_rtl.py` does. Instances are kept apart by hierarchy: each is mapped by itself, and counted by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from benchmarks.area.instances import Sample
from benchmarks.common import ROOT, version
from toolchain.build.tools.ecp5_mapping import ADD_SUBTRACT, CARRY_CHAINS, READ_OPTIONS, mapping
from toolchain.data_folders import RTL_LIBRARY
from toolchain.plan import BuildPlan
from toolchain.resources import synthesis_resources
from toolchain.target import Device, DspBlocks, dsp_width

#: Results by the digest of what was synthesised; `make clean` removes them.
CACHE = ROOT / "build" / "resource_model"
_XC7 = "synth_xilinx -family xc7 -abc9"
#: Instances of one run of Yosys: starting it costs as much as mapping a few.
_BATCH = 24


def synthesise_samples(found: Sequence[Sample], family: str) -> list[dict[str, int]]:
    """Counts of each sample, in order."""
    found = [for_family(sample, family) for sample in found]
    texts = [_wrapper("sample", sample) for sample in found]
    keys = [
        _key(family, text, *_library(sample.instance.module), *(m.content().decode() for m in sample.instance.memories))
        for text, sample in zip(texts, found, strict=True)
    ]
    waiting = [place for place, key in enumerate(keys) if not _kept(key)]
    for start in range(0, len(waiting), _BATCH):
        places = waiting[start : start + _BATCH]
        counts = _run_samples([found[place] for place in places], family)
        for place, count in zip(places, counts, strict=True):
            _keep(keys[place], count)
    return [_kept(key) for key in keys]


def for_family(sample: Sample, family: str) -> Sample:
    """The sample as a network for that family has it."""
    return replace(sample, instance=sample.instance.with_dsp_blocks(DspBlocks(dsp_width(Device("", family)))))


def synthesise_network(plan: BuildPlan, family: str) -> dict[str, int]:
    """Counts of a network's core, flattened."""
    key = network_key(plan, family)
    if not _kept(key):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            plan.write(folder)
            sources = " ".join(plan.sources(".sv"))
            counts = _yosys(
                [f"read_slang --top {plan.top} {_read_options(family)} {sources}"], plan.top, family, folder
            )
        _keep(key, counts[plan.top])
    return _kept(key)


def network_key(plan: BuildPlan, family: str) -> str:
    """Of what is synthesised: the sources and the memories, without the plan's facts."""
    files = [file for file in plan.files if file.path.endswith((".sv", ".hex"))]
    return _key(family, *(part for file in files for part in (file.path, file.content.decode())))


def _mapping(family: str, top: str, folder: Path) -> list[str]:
    """Yosys commands, for a script that is run in `folder`, from the design that was read to the family's cells."""
    return mapping(top, folder) if family == "ecp5" else [f"{_XC7} -top {top}"]


def _read_options(family: str) -> str:
    return " ".join(READ_OPTIONS) if family == "ecp5" else ""


@cache
def _mapping_text(family: str) -> str:
    if family != "ecp5":
        return _XC7
    with tempfile.TemporaryDirectory() as temporary:
        commands = mapping("top", Path(temporary))
    return "\n".join([*commands, CARRY_CHAINS.read_text(), ADD_SUBTRACT.read_text()])


def _key(family: str, *parts: str) -> str:
    text = "\0".join([_mapping_text(family), version("pyosys"), *parts])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _library(module: str) -> tuple[str, ...]:
    """The text of a module and of all below it."""
    text = (RTL_LIBRARY / f"{module}.sv").read_text()
    code = re.sub(r"//.*", "", text)
    below = {name for name in re.findall(r"\b([A-Za-z_]\w*)\s*#\s*\(", code) if name != module}
    return (text, *(part for name in sorted(below) if (RTL_LIBRARY / f"{name}.sv").exists() for part in _library(name)))


def _kept(key: str) -> dict[str, int]:
    path = CACHE / f"{key}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(key: str, counts: Mapping[str, int]) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / f"{key}.json").write_text(json.dumps(dict(counts)))


def _ports(sample: Sample) -> list[tuple[str, str, int]]:
    """(direction, name, width) of all ports but clock and reset."""
    instance = sample.instance
    found: list[tuple[str, str, int]] = [("input", "load_bus", 65)] if instance.load_bases else []
    for prefix, width in zip(instance.input_ports, sample.input_widths, strict=True):
        found += [
            ("input", f"{prefix}_tdata", width),
            ("input", f"{prefix}_tvalid", 1),
            ("output", f"{prefix}_tready", 1),
        ]
    width = instance.output_lanes * instance.output_element.width
    for prefix in instance.output_ports:
        found += [
            ("output", f"{prefix}_tdata", width),
            ("output", f"{prefix}_tvalid", 1),
            ("input", f"{prefix}_tready", 1),
        ]
    return found


def _wrapper(name: str, sample: Sample) -> str:
    """A module with the sample's ports around the sample."""
    ports = [("input", "clk", 1), ("input", "rst", 1), *_ports(sample)]
    header = ", ".join(f"{direction} wire [{width - 1}:0] {port}" for direction, port, width in ports)
    parameters = ", ".join(f".{label}({value})" for label, value in sample.instance.parameters)
    connections = ", ".join(f".{port}({port})" for _, port, _ in ports)
    return f"module {name} ({header});\n  {sample.instance.module} #({parameters}) u ({connections});\nendmodule\n"


def _run_samples(found: Sequence[Sample], family: str) -> list[dict[str, int]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in RTL_LIBRARY.glob("*.sv"):
            (folder / path.name).write_text(path.read_text())
        library = " ".join(sorted(path.name for path in RTL_LIBRARY.glob("*.sv")))
        names = [f"sample{place}" for place in range(len(found))]
        tops, wires = [], []
        for name, sample in zip(names, found, strict=True):
            (folder / f"{name}.sv").write_text(_wrapper(name, sample))
            for memory in sample.instance.memories:
                (folder / memory.path).parent.mkdir(exist_ok=True)
                (folder / memory.path).write_bytes(memory.content())
            connections = [".clk(clk)", ".rst(rst)"]
            for direction, port, width in _ports(sample):
                wires.append(f"{direction} [{width - 1}:0] {name}_{port}")
                connections.append(f".{port}({name}_{port})")
            tops.append(f"  {name} u_{name} ({', '.join(connections)});")
        (folder / "all.v").write_text(
            f"module all (input clk, input rst, {', '.join(wires)});\n" + "\n".join(tops) + "\nendmodule\n"
        )
        options = _read_options(family)
        reading = [f"read_slang --top {name} {options} {name}.sv {library}" for name in names]
        reading += [f"setattr -mod -set keep_hierarchy 1 {name}" for name in names]
        counts = _yosys([*reading, "read_verilog all.v"], "all", family, folder)
    return [counts[name] for name in names]


def _yosys(reading: Sequence[str], top: str, family: str, folder: Path) -> dict[str, dict[str, int]]:
    """Counts of every module, those of modules within it left out."""
    from toolchain.build.tools.yosys import run_commands

    run_commands(
        [*reading, "chformal -remove", *_mapping(family, top, folder), "tee -q -o cells.json stat -json"],
        cwd=folder, name="synthesis", what=f"Synthesis for {family}", timeout_s=7200,
    )  # fmt: skip
    modules = json.loads((folder / "cells.json").read_text())["modules"]
    names = {name.lstrip("\\") for name in modules}
    return {
        name.lstrip("\\"): synthesis_resources(
            family, {k: v for k, v in module["num_cells_by_type"].items() if k not in names}
        )
        for name, module in modules.items()
    }
