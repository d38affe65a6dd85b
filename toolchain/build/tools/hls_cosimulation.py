# SPDX-License-Identifier: Apache-2.0
"""hls4ml's own test bench, as an HLS compiler runs it on C++ and on RTL: its vectors, and what it leaves.

The bench reads real numbers as float32 and prints six digits of each result; the rungs of the ladder compare all bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from toolchain.build.tools.vitis_hls import compiled_top
from toolchain.errors import BuildFailed

#: What float32 holds exactly.
MOST_INPUT_BITS = 24
_DATA = "tb_data"
#: Digits that a C++ stream prints unless told otherwise.
_DIGITS = 6
_LARGEST_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class Cosimulation:
    """samples: that C++ and RTL were run on. latency_cycles, interval_cycles: the longest that the compiler counted, None where it says none."""

    samples: int
    latency_cycles: int | None
    interval_cycles: int | None


def write_samples(project: Path, inputs: Sequence[Sequence[Decimal]], results: Sequence[Sequence[Decimal]]) -> None:
    """The vectors that the bench reads, each with what it has to give."""
    folder = project / _DATA
    folder.mkdir(exist_ok=True)
    for name, rows in (("tb_input_features.dat", inputs), ("tb_output_predictions.dat", results)):
        (folder / name).write_text("".join(" ".join(f"{value:f}" for value in row) + "\n" for row in rows))


def read_cosimulation(project: Path, top: str, flow: str, results: Sequence[Sequence[Decimal]]) -> Cosimulation:
    """Check what the bench printed for C++ and for RTL against `results`, and read the compiler's report.

    Raises BuildFailed for a run that failed, files that are missing or no such files, and the first result that differs.
    """
    solution = project / f"{top}_prj" / "solution1"
    latency, interval = _report(solution / "sim" / "report" / f"{compiled_top(flow, top)}_cosim.rpt")
    for label, name in (("C++", "csim_results.log"), ("RTL", "rtl_cosim_results.log")):
        _compare(label, project / _DATA / name, results)
    return Cosimulation(len(results), latency, interval)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise BuildFailed(f"{path}: has {path.stat().st_size:,} bytes, more than a cosimulation leaves")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFailed(f"{path}: what the cosimulation leaves cannot be read: {error}") from None


def _report(path: Path) -> tuple[int | None, int | None]:
    """(latency, interval) of the row for Verilog: its cells are language, status, and least, mean, most of either."""
    for line in _read(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] != "Verilog":
            continue
        if len(cells) != 8 or cells[1] != "Pass":
            raise BuildFailed(f"{path}: the cosimulation did not pass: {line.strip()[:120]!r}, expected status 'Pass'")
        latency, interval = (int(cell) if re.fullmatch(r"\d{1,12}", cell) else None for cell in (cells[4], cells[7]))
        return latency, interval
    raise BuildFailed(f"{path}: the cosimulation's report has no row for Verilog")


def _compare(label: str, path: Path, results: Sequence[Sequence[Decimal]]) -> None:
    text = _read(path)
    # Behind AXI each result comes on a line of its own, with the mark of a frame's end.
    words = re.findall(r"data: (\S+),", text) or text.split()
    count = sum(map(len, results))
    if len(words) != count:
        raise BuildFailed(f"{path}: the bench printed {len(words):,} values of the {label}, expected {count:,}")
    left = iter(words)
    for sample, expected in enumerate(results):
        for place, (value, word) in enumerate(zip(expected, left, strict=False)):
            if not _prints(word, value):
                raise BuildFailed(
                    f"cosimulation ({label}): sample {sample}, value {place} is {word[:40]}, expected {value}; see {path}"
                )


def _prints(word: str, value: Decimal) -> bool:
    """Whether the word is the value as far as its digits go."""
    try:
        found = Decimal(word)
    except InvalidOperation:
        return False
    if not found.is_finite():
        return False
    return abs(found - value) <= Decimal(5).scaleb(value.adjusted() - _DIGITS) if value else found == 0
