# SPDX-License-Identifier: Apache-2.0
"""Libraries that are built again under the same name: the one that lies there now is the one that is judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from toolchain.backends.base import make_plan
from toolchain.build.shared_library import load_shared_library
from toolchain.build.tools import cxx, verilator
from toolchain.ir import AddBias, Dense, Graph, GraphBuilder, Input, IntegerType
from toolchain.target import Target
from toolchain.verify.simulate import build_simulation, verify_bulk
from toolchain.verify.vectors import random_vectors


@pytest.mark.skipif(cxx.TOOL.find() is None, reason="needs a C++ compiler")
def test_a_library_that_was_replaced(tmp_path: Path) -> None:
    loaded = []
    for value in (1, 2):
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        (tmp_path / "build").mkdir()
        (tmp_path / "build" / "value.cpp").write_text(f'extern "C" int value() {{ return {value}; }}\n')
        built = cxx.build_shared_library(
            ["value.cpp"],
            tmp_path / "build" / "value.so",
            cwd=tmp_path / "build",
            log=tmp_path / "log",
            timeout_s=60,
        )
        loaded.append(load_shared_library(built.path))
    assert [library.value() for library in loaded] == [1, 2]


def network(outputs: int) -> Graph:
    """Its sums, and so the widths of its RTL, depend on the number of outputs."""
    builder = GraphBuilder("again")
    x = builder.add(Input((4,), IntegerType(True, 4)), name="x")
    weights = np.arange(4 * outputs).reshape(4, outputs) - 2 * outputs
    builder.output(builder.add(AddBias(np.arange(outputs), 0), builder.add(Dense(weights), x, name="fc"), name="y"))
    return builder.build()


@pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator")
def test_a_design_that_was_replaced_is_simulated(tmp_path: Path) -> None:
    for outputs in (2, 3):
        graph = network(outputs)
        shutil.rmtree(tmp_path / "build", ignore_errors=True)
        plan = make_plan("rtl", graph, Target())
        plan.write(tmp_path / "build" / "plan")
        library = build_simulation(tmp_path / "build" / "plan", plan.facts, tmp_path / "build" / "simulation")
        assert verify_bulk(graph, library, random_vectors(graph, 100, seed=1)).mismatches == 0
