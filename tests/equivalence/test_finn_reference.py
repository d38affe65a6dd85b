# SPDX-License-Identifier: Apache-2.0
"""Published networks as FINN's RTL: every integer is the interpreter's; within 3 % of the cycles that FINN expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.equivalence.finn_bundle import PARTS, FinnBundle
from tests.equivalence.rtl_bundle import Member
from tests.reference_models import reference_model
from toolchain.build.tools import finn, verilator
from toolchain.frontends import load_model
from toolchain.ir import interpret
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import mixed_vectors

pytestmark = pytest.mark.skipif(
    verilator.TOOL.find() is None or finn.TOOL.find() is None, reason="needs Verilator, a C++ compiler and finn-plus"
)


@pytest.mark.full
def test_keywords_and_digits(tmp_path: Path) -> None:
    keywords = load_model(reference_model("qonnx_kws_w3a3_mlperf") / "QONNX_model.onnx").graph
    digits = load_model(reference_model("qonnx_tfc_w2a2") / "TFC_2W2A.onnx").graph
    bundle = FinnBundle([Member(graph.name, graph, part=PARTS["xc7"]) for graph in (keywords, digits)], tmp_path)
    for graph in (keywords, digits):
        assert not bundle.designs[graph.name].own
        x = mixed_vectors(graph, None, 300, 3)
        found, run = bundle.run(graph.name, x)
        (expected,) = interpret(graph, x).values()
        assert (found == expected).all()
        bundle.check(graph.name, x[:40], (Pattern(idle=0.3, stall=0.3, seed=5),))
        facts = bundle.facts[graph.name]
        ends = run.output_cycles[facts["output"]["beats"] - 1 :: facts["output"]["beats"]]
        expected_cycles = max(facts["finn_expected_cycles"], facts["input"]["beats"])
        # A matrix unit that its width converter holds up for a moment loses some cycles, which FINN's formula does not count.
        assert 20 * expected_cycles <= int(ends[-1] - ends[-21]) <= 1.03 * 20 * expected_cycles
