# SPDX-License-Identifier: Apache-2.0
"""Each correction of FINN's RTL library: that it applies, and what goes wrong without it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.finn_bundle import PARTS, FinnBundle, decide
from tests.equivalence.rtl_bundle import Member
from toolchain.backends.finn import stitch, write_request
from toolchain.backends.finn.overlay import CORRECTIONS, FOLDERS, Correction, corrected, make_overlay
from toolchain.build.tools import finn, verilator, yosys
from toolchain.build.tools.finn import run_worker
from toolchain.errors import BuildFailed
from toolchain.ir import Conv, Dense, GraphBuilder, Input, IntegerType, Pad, Reshape, Threshold
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(
    verilator.TOOL.find() is None or finn.TOOL.find() is None or yosys.TOOL.find() is None,
    reason="needs Verilator, Yosys, a C++ compiler and finn-plus",
)

NAMES = [*(correction.name for correction in CORRECTIONS), "constant function", "default net type"]


def installed() -> Path:
    spec = find_spec("finn")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "finn-rtllib"


def image_network(name: str, part: str, bits: int) -> Member:
    """A border, windows, a matrix and thresholds, and a matrix behind them; the first matrix multiplies words of `bits`."""
    random = np.random.default_rng(3)
    builder = GraphBuilder(name)
    x = builder.add(Input((4, 4, 2), IntegerType(True, bits)), name=f"{name}_x")
    x = builder.add(Pad(((1, 1), (1, 1), (0, 0))), x, name=f"{name}_pad")
    x = builder.add(
        Conv(random.integers(1 - (1 << bits - 1), 1 << bits - 1, (3, 3, 2, 4)), (1, 1), (1, 1)), x, name=f"{name}_conv"
    )
    x = builder.add(Threshold(np.sort(random.integers(-90, 90, (4, 15)), axis=1)), x, name=f"{name}_act")
    x = builder.add(Reshape((64,)), x, name=f"{name}_flat")
    x = builder.add(Dense(random.integers(-7, 8, (64, 4))), x, name=f"{name}_dense")
    builder.output(x)
    return Member(name, builder.build(), part=part)


def fast_network(name: str) -> Member:
    """Each vector in one beat and a result every cycle: many are under way when the sink stops."""
    random = np.random.default_rng(5)
    builder = GraphBuilder(name)
    x = builder.add(Input((3,), IntegerType(True, 4)), name=f"{name}_x")
    x = builder.add(Dense(random.integers(-7, 8, (3, 6))), x, name=f"{name}_dense")
    builder.output(x)
    return Member(name, builder.build(), Folding(1, {f"{name}_dense": StageFolding(3, 1)}), part=PARTS["xc7"])


@dataclass(frozen=True)
class Made:
    """A stitched network on disk."""

    folder: Path
    top: str
    sources: tuple[str, ...]


def make(member: Member, folder: Path) -> Made:
    decided = decide(member)
    (folder / "finn").mkdir(parents=True)
    write_request(decided, folder / "finn")
    run_worker(folder / "finn", log=folder / "finn" / "finn.log")
    assert json.loads((folder / "finn" / "nodes.json").read_text())["corrections"] == NAMES
    plan = stitch(decided, folder / "finn")
    plan.write(folder / "plan")
    return Made(folder / "plan", plan.top, plan.sources(".sv", ".v"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(image_network("image", PARTS["xc7"], 4), tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def versal(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(image_network("versal", PARTS["versal"], 8), tmp_path_factory.mktemp("versal"))


def verilate(made: Made, folder: Path) -> None:
    tool = verilator.TOOL.require()
    command = [
        *tool.command,
        "--lint-only",
        "-Wno-lint",
        "-Wno-style",
        "-Wno-fatal",
        "--top-module",
        made.top,
        *made.sources,
    ]
    verilator.run(
        command, cwd=folder, log=folder / "lint.log", what="Verilator", timeout_s=300, environment=tool.environment
    )


def elaborate(made: Made, folder: Path, *commands: str) -> dict[str, int]:
    """Yosys' counts of cells by type, after its own first steps."""
    read = f"read_slang --top {made.top} --allow-use-before-declare {' '.join(made.sources)}"
    steps = [read, "chformal -remove", *commands, "tee -q -o cells.json stat -json"]
    yosys.run_commands(steps, cwd=folder, name="read", what="Yosys", timeout_s=300)
    return dict(json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"])


def without(made: Made, name: str, folder: Path) -> Path:
    """The design with the files of the library that one correction changes as FINN has them."""
    make_overlay(installed(), folder / "library", without=(name,))
    shutil.copytree(made.folder, folder / "plan")
    for path in (folder / "library").rglob("*.*v"):
        if (folder / "plan" / "rtl" / path.name).exists():
            shutil.copyfile(path, folder / "plan" / "rtl" / path.name)
    return folder / "plan"


def test_with_all_corrections_the_tools_take_the_library(image: Made, versal: Made) -> None:
    for made in (image, versal):
        verilate(made, made.folder)
        elaborate(made, made.folder, "proc")


@pytest.mark.parametrize("name", ["packed structure", "constant function"])
def test_verilator_refuses_the_library_without(name: str, image: Made, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="Verilator"):
        verilate(image, without(image, name, tmp_path))


@pytest.mark.parametrize(
    "name",
    ["part-select", "recovery watchdog", "arithmetic without primitives", "constant function", "default net type"],
)
def test_yosys_refuses_the_library_without(name: str, image: Made, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="Yosys"):
        elaborate(image, without(image, name, tmp_path), "proc")


@pytest.mark.parametrize("name", ["recovery watchdog on Versal", "arithmetic without primitives on Versal"])
def test_yosys_refuses_the_library_for_versal_without(name: str, versal: Made, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="Yosys"):
        elaborate(versal, without(versal, name, tmp_path), "proc")


def test_weights_are_constants_only_with_their_correction(image: Made, tmp_path: Path) -> None:
    """Without it the weight memories keep write ports, and the logic of a port that nobody uses."""
    steps = ("proc", "flatten", "opt -full", "memory_collect", "opt_clean")
    cells = elaborate(image, without(image, "constant weights", tmp_path), *steps)
    assert sum(cells.values()) > sum(elaborate(image, image.folder, *steps).values())


def test_the_output_queue_overflows_without_its_correction(tmp_path: Path) -> None:
    """FINN's own assertion fires; without assertions the wrong data come out; with the correction neither happens."""
    member = fast_network("fast")
    x = random_vectors(member.graph, 200, 1)
    stalls = (Pattern(stall=0.6, seed=12), Pattern(stall=0.9, seed=13))
    FinnBundle([member], tmp_path / "right").check(member.name, x, stalls)
    wrong = FinnBundle([member], tmp_path / "wrong", without=("output queue",))
    with pytest.raises(BuildFailed, match="mvu_vvu_axi"):
        wrong.check(member.name, x, stalls)
    silent = FinnBundle([member], tmp_path / "silent", without=("output queue",), assertions=False)
    with pytest.raises(AssertionError, match="values differ"):
        silent.check(member.name, x, stalls)


def test_each_correction_applies_once(tmp_path: Path) -> None:
    assert make_overlay(installed(), tmp_path / "library") == NAMES
    for correction in CORRECTIONS:
        before = (installed() / correction.file).read_text()
        assert corrected(before, correction) != before


def test_a_correction_that_does_not_apply_stops_the_build(tmp_path: Path) -> None:
    correction = Correction("queue", "mvu/mvu_vvu_axi.sv", (("DEPTH = 3;", "DEPTH = 4;"),), "why")
    assert corrected("x DEPTH = 3; y", correction) == "x DEPTH = 4; y"
    for text, count in (("nothing", 0), ("DEPTH = 3; DEPTH = 3;", 2)):
        with pytest.raises(BuildFailed) as caught:
            corrected(text, correction)
        assert str(caught.value) == (
            f"FINN's mvu/mvu_vvu_axi.sv: the correction 'queue' needs 'DEPTH = 3;' once and finds it {count} times; this release "
            "of FINN is another than the corrections were written for (finn-plus 1.6.1)"
        )
    changed = tmp_path / "changed"
    for name in FOLDERS:
        shutil.copytree(installed() / name, changed / name)
    path = changed / "fifo" / "hdl" / "fifo.sv"
    path.write_text(path.read_text().replace("typedef struct {", "typedef struct  {"))
    with pytest.raises(BuildFailed, match="correction 'packed structure' needs"):
        make_overlay(changed, tmp_path / "library")
