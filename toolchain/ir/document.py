# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/semantics.md, from the code that defines them: ``python -m toolchain.ir.document docs/semantics.md``."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from toolchain.ir.operation import operations
from toolchain.ir.rounding import OVERFLOW_TABLE, ROUNDING_TABLE, Overflow, Rounding, fit, round_shift
from toolchain.ir.types import IntegerType


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def rounding_table() -> str:
    """Every rounding mode with what it does to seven values, computed by the interpreter's own function."""
    eighths = [-12, -11, -4, -1, 1, 4, 11, 12]
    header = ["mode", "rounds", "ap_fixed", "elsewhere", *(f"{value / 8:g}" for value in eighths)]
    rows = []
    for mode in Rounding:
        rounds, ap_fixed, elsewhere = ROUNDING_TABLE[mode]
        values = round_shift(np.array(eighths), 3, mode)
        rows.append([f"`{mode.value}`", rounds, f"`{ap_fixed}`" if ap_fixed else "", elsewhere, *map(str, values)])
    return _table(header, rows)


def overflow_table() -> str:
    """Every overflow mode with what it makes of values around the range of a signed 4-bit word."""
    values = [-25, -17, -9, -8, 7, 8, 15, 16, 25]
    target = IntegerType(True, 4)
    header = ["mode", "a value outside becomes", "ap_fixed", "elsewhere", *map(str, values)]
    rows = []
    for mode in Overflow:
        text, ap_fixed, elsewhere = OVERFLOW_TABLE[mode]
        results = fit(np.array(values), target, mode)
        names = ", ".join(f"`{name}`" for name in ap_fixed.split(", ") if name)
        rows.append([f"`{mode.value}`", text, names, elsewhere, *map(str, results)])
    return _table(header, rows)


def operation_sections() -> str:
    """Every operation: its fields and its contract, which is the docstring of its class."""
    sections = []
    for kind, cls in operations().items():
        fields = ", ".join(f"`{f.name}: {f.type}`" for f in dataclasses.fields(cls)) or "none"  # type: ignore[arg-type]
        # A paragraph of the docstring is one of the page; an indented line continues the one above it.
        text = re.sub(r"\n {4,}", " ", inspect.cleandoc(cls.__doc__ or ""))
        text = re.sub(r"^(\w+(?:, \w+)*): ", r"- \1: ", text, flags=re.MULTILINE).replace("``", "`")
        arity = "one or more" if cls.arity is None else cls.arity
        sections.append(f"### {kind}\n\nInputs: {arity}. Fields: {fields}.\n\n{text}")
    return "\n\n".join(sections)


_PARTS = {"rounding": rounding_table, "overflow": overflow_table, "operations": operation_sections}


def fill_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """`text` with what stands between each pair of generated markers made anew by the function of that name."""
    for name, make in parts.items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            raise AssertionError(f"the page has no markers {start} ... {end}")
        before, rest = text.split(start, 1)
        text = f"{before}{start}\n\n{make()}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def fill(text: str) -> str:
    """docs/semantics.md with its tables made anew."""
    return fill_parts(text, _PARTS)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(fill(page.read_text()))
