# SPDX-License-Identifier: Apache-2.0
"""Identifiers from hostile names, plans that stay in their folder."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.identifiers import identifiers
from toolchain.plan import BuildPlan, PlannedFile


@given(st.lists(st.text(max_size=60), max_size=30))
def test_identifiers_are_safe_and_unique(names: list[str]) -> None:
    result = identifiers(names, reserved=["clk"])
    assert set(result) == set(names)
    values = [value.lower() for value in result.values()]
    assert len(set(values)) == len(values)
    for value in result.values():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value)
        assert "__" not in value
        assert value.lower() not in {"module", "begin", "class", "proc", "signal", "clk"}


def test_identifiers_stay_readable() -> None:
    names = ["dense_1", "block/conv 1", "module", 'a"; $(rm -rf /)', "..", "Größe", "DENSE_1"]
    assert list(identifiers(names).values()) == [
        "dense_1", "block_conv_1", "module_2", "a_rm_rf", "n", "Groe", "DENSE_1_2",
    ]  # fmt: skip


def test_plan_digest_follows_content(tmp_path: Path) -> None:
    plan = BuildPlan("rtl", "top", (PlannedFile.text("a/top.sv", "module top;"),), {"latency_cycles": 3})
    same = BuildPlan("rtl", "top", (PlannedFile.text("a/top.sv", "module top;"),), {"latency_cycles": 3})
    other = BuildPlan("rtl", "top", (PlannedFile.text("a/top.sv", "module top ;"),), {"latency_cycles": 3})
    assert plan.digest == same.digest != other.digest
    plan.write(tmp_path)
    assert (tmp_path / "a/top.sv").read_text() == "module top;"
    assert plan.sources(".sv", ".v") == ("a/top.sv",)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_planned_files_stay_inside(path: str) -> None:
    with pytest.raises(AssertionError):
        PlannedFile.text(path, "")
