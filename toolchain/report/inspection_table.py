# SPDX-License-Identifier: Apache-2.0
"""The figures of a model in the terminal: its ends, a table of the integer graph, totals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.report.figures import number_text
from toolchain.report.inspection import (
    BIT_OPERATIONS,
    BIT_OPERATIONS_SOURCE,
    Inspection,
    NodeFigures,
    Totals,
    ends_text,
    shape_text,
    share,
    short_type,
)
from toolchain.report.terminal import add_row, console_for, plain, table_for

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class _Column:
    """heading, a node's cell, the totals' cell; numeric: right-aligned, never wrapped. rank: columns of the highest rank are
    left out first where the terminal is narrow."""

    heading: str
    cell: Callable[[NodeFigures], str]
    total: Callable[[Totals], str] = lambda total: ""
    numeric: bool = False
    rank: int = 0


#: Longer names go over several lines.
_MOST_WIDTH = 44


def _count(value: int | None) -> str:
    return f"{value:,}" if value else ""


def _percent(part: int, whole: int) -> str:
    value = share(part, whole)
    return "" if value is None else f"{number_text(100 * value, 2)} %"


def _types_in(node: NodeFigures) -> str:
    kinds = [short_type(kind.element) for kind in node.input_types]
    distinct = list(dict.fromkeys(kinds))
    return ", ".join(f"{kinds.count(kind)} x {kind}" if len(kinds) > 1 else kind for kind in distinct)


_COLUMNS = (
    _Column("node", lambda n: n.name, lambda t: f"total of {t.nodes:,}"),
    _Column("layer", lambda n: n.source, rank=6),
    _Column("operation", lambda n: n.operation),
    _Column("shape", lambda n: shape_text(n.type.shape), rank=1),
    _Column("type in", _types_in, rank=5),
    _Column("type out", lambda n: short_type(n.type.element)),
    _Column("sum\nbits", lambda n: _count(n.accumulator_bits), numeric=True),
    _Column("weights", lambda n: _count(n.weights), lambda t: _count(t.weights), True),
    _Column(
        "zeros", lambda n: _percent(n.zero_weights, n.weights), lambda t: _percent(t.zero_weights, t.weights), True, 4
    ),
    _Column("other\nconstants", lambda n: _count(n.other_constants), lambda t: _count(t.other_constants), True, 7),
    _Column("MACs", lambda n: _count(n.products), lambda t: f"{t.macs:,}", True),
    _Column("bit\noperations", lambda n: _count(n.bit_operations), lambda t: f"{t.bit_operations:,}", True, 3),
    _Column("memory\nbits", lambda n: _count(n.memory_bits), lambda t: f"{t.memory_bits:,}", True, 2),
)


def graph_table(inspection: Inspection, columns: Sequence[_Column] = _COLUMNS) -> Table:
    """One row a node, then the totals."""
    from rich.text import Text

    table = table_for("Integer graph", *((column.heading, column.numeric) for column in columns))
    for column, shown in zip(columns, table.columns, strict=True):
        shown.header = Text(column.heading)
        shown.max_width = _MOST_WIDTH
    for node in inspection.nodes:
        add_row(table, *(column.cell(node) for column in columns))
    table.add_section()
    total = inspection.totals
    add_row(table, *(column.total(total) for column in columns), style="bold")
    return table


def _fitting(inspection: Inspection, console: Console) -> tuple[Table, list[str]]:
    """The table with as many columns as the terminal is wide, and the headings left out. Files get all of them."""
    columns = list(_COLUMNS)
    left_out: list[str] = []
    while True:
        table = graph_table(inspection, columns)
        width = console.measure(table, options=console.options.update(max_width=10_000)).maximum
        if width <= console.width:
            return table, left_out
        if not console.is_terminal:
            console.width = width
            return table, left_out
        spare = max(columns, key=lambda column: column.rank)
        if spare.rank == 0:
            return table, left_out
        columns.remove(spare)
        left_out.append(spare.heading.replace("\n", " "))


def input_text(row: dict[str, Any]) -> str:
    """How the host makes the integers of an input, in one line."""
    outside = "is refused" if row["out_of_range"] == "refuse" else "saturates"
    shape = shape_text(row["sample_shape"])
    order = f", axes {row['axes']} of it" if row["axes"] else ""
    return (
        f"input {plain(row['name'])}: {shape}{order}, {row['type']}; {_step(row['scale'], row['fraction'])} a step, "
        f"offset {row['offset']!r}, rounding {row['rounding']}, a value outside {outside}"
    )


def output_text(row: dict[str, Any]) -> str:
    """What the integers of an output stand for, in one line."""
    scales = sorted({scale * 2.0 ** -row["fraction"] for scale in row["scale"]})
    step = ends_text(scales) if len(scales) > 1 else _step(row["scale"][0], row["fraction"])
    host = f"; then {plain(row['host_function'])} on the host" if row["host_function"] else ""
    order = f", axes {row['axes']} of the graph's" if row["axes"] else ""
    return (
        f"output {plain(row['name'])}: {shape_text(row['sample_shape'])}{order}, {row['type']}; {step} a step, "
        f"offset {ends_text(row['offset'])}{host}"
    )


def _step(scale: float, fraction: int) -> str:
    """The real value of the integer 1."""
    power = f"2^{-fraction}"
    if scale == 1.0:
        return power
    return f"{scale!r} * {power}" if fraction else repr(scale)


def summary_lines(inspection: Inspection) -> Iterator[str]:
    """What the model is, before the table."""
    framework = inspection.framework or "a graph file that does not name its framework"
    yield f"{plain(inspection.model)}: {plain(framework)}"
    yield f"graph {inspection.digest}"
    yield from map(input_text, inspection.inputs)
    yield from map(output_text, inspection.outputs)
    exact = inspection.metadata.get("framework_sums_exact")
    if exact == "yes":
        yield "The framework's own float32 sums are exact for this model: it has to agree with the graph in every bit."
    elif exact == "no":
        yield "The framework's own float32 sums may round for this model; the graph's do not."
    for key, value in inspection.metadata.items():
        if key not in ("framework", "framework_sums_exact"):
            yield from (f"{plain(key)}: {plain(line)}" for line in value.splitlines())


_FILES = {
    "picture": "picture, for any browser",
    "qonnx": "QONNX file, for Netron",
    "graph": "graph file, a model for every command",
    "figures": "these figures, for programs",
}


def print_inspection(inspection: Inspection, folder: Path | None = None, console: Console | None = None) -> None:
    """Summary, table, and what was written into the folder."""
    from rich.text import Text

    out = console if console is not None else console_for()
    for line in summary_lines(inspection):
        out.print(Text(line))
    out.print()
    table, left_out = _fitting(inspection, out)
    out.print(table)
    total = inspection.totals
    if total.distinct_memory_bits < total.memory_bits:
        out.print(
            f"Equal constants counted once: {total.distinct_weights:,} weights, {total.distinct_memory_bits:,} bits of memory"
        )
    out.print(f"Bit operations: {BIT_OPERATIONS} ({BIT_OPERATIONS_SOURCE}), n products a sum")
    if left_out:
        out.print(f"Columns left out for the width: {', '.join(left_out)}; --json has them")
    for what, name in inspection.files.items():
        out.print(Text(f"{_FILES[what]}: {plain(folder / name if folder else name)}"))
    for note in inspection.notes:
        out.print(Text(f"Note: {plain(note)}"))
