# SPDX-License-Identifier: Apache-2.0
"""FINN's RTL library, as installed, with its faults corrected: made for each build, nothing of it is kept in this project.

Every correction names a file, the text as it is and the text that works, and has to be found exactly as often as it says; a
release of FINN in which it is not stops the build. Whole functions are moved by their first and last words.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BuildFailed

#: Folders of the library that the nodes of this backend are made from.
FOLDERS = ("axi", "dwc", "fifo", "fmpadding", "memstream", "mvu", "swg", "thresholding")


@dataclass(frozen=True)
class Correction:
    """In `file` (of the library), the first text of each pair becomes the second. name: for messages and tests.

    why: what goes wrong without it.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    why: str


CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        "output queue",
        "mvu/mvu_vvu_axi.sv",
        (("MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH;", "MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH + 8;"),),
        "with one beat a vector and back-pressure more results are under way than the queue holds: wrong data",
    ),
    Correction(
        "packed structure",
        "fifo/hdl/fifo.sv",
        (("typedef struct {\n\t\tint unsigned  lo;", "typedef struct packed {\n\t\tint unsigned  lo;"),),
        "Verilator takes a structure as a constant only if it is packed",
    ),
    Correction(
        "part-select",
        "thresholding/hdl/thresholding.sv",
        (("p.ptr[M-1:SN+1] < 2**stage", "(p.ptr[M-1:0] >> (SN+1)) < 2**stage"),),
        "in the first stage the part-select is reversed, which slang (Yosys) refuses",
    ),
    Correction(
        "recovery watchdog",
        "mvu/mvu.sv",
        (("if(1) begin : blkRecoveryWatch", "if(0) begin : blkRecoveryWatch"),),
        "a delay that only a simulation has, and Yosys refuses",
    ),
    Correction(
        "recovery watchdog on Versal",
        "mvu/mvu_vvu_8sx9_dsp58.sv",
        (("if(1) begin : blkRecoveryWatch", "if(0) begin : blkRecoveryWatch"),),
        "a delay that only a simulation has, and Yosys refuses",
    ),
    Correction(
        "arithmetic without primitives",
        "mvu/mvu.sv",
        (("module mvu #(", "`ifndef VERILATOR\n`define VERILATOR\n`endif\nmodule mvu #("),),
        "the unit instances DSP48 and LUT6_2 cells of one vendor unless told to infer them",
    ),
    Correction(
        "arithmetic without primitives on Versal",
        "mvu/mvu_vvu_8sx9_dsp58.sv",
        (
            (
                "module mvu_vvu_8sx9_dsp58 #(",
                "`ifndef VERILATOR\n`define VERILATOR\n`endif\nmodule mvu_vvu_8sx9_dsp58 #(",
            ),
        ),
        "the unit instances DSP58 cells unless told to infer them",
    ),
    # What nobody writes is a constant: a memory without a write port is a table.
    Correction(
        "constant weights",
        "memstream/hdl/memstream_axi.sv",
        (
            ("uwire  config_ce;", "uwire  config_ce = 0;"),
            ("uwire  config_we;", "uwire  config_we = 0;"),
            (".ip_en(config_ce)", ".ip_en()"),
            (".ip_wen(config_we)", ".ip_wen()"),
        ),
        "a configuration port that is tied off keeps a write port at each weight memory",
    ),
)

#: A function of constants has to stand outside the generate block that uses it: (file, first words, last words, new place).
_MOVED = (
    "mvu/add_multi.sv",
    "\t\ttypedef int unsigned  leaf_load_t",
    "endfunction : init_leaf_loads",
    "\tuwire [SUM_WIDTH-1:0]  sum0;",
)


def make_overlay(installed: Path, folder: Path, without: Sequence[str] = ()) -> list[str]:
    """Copy the library's folders to `folder`, corrected; returns the names of the corrections that were made.

    installed: FINN's own library. without: names of corrections that are left out, for the tests that show what each is for.
    Raises BuildFailed if one of them does not apply, naming it.
    """
    for name in FOLDERS:
        if not (installed / name).is_dir():
            raise BuildFailed(
                f"FINN's RTL library in {installed} has no folder {name!r}; is finn-plus 1.6.1 installed?"
            )
        shutil.copytree(installed / name, folder / name, ignore=shutil.ignore_patterns("sim", "tb", "*_tb.sv"))
    made = []
    for correction in CORRECTIONS:
        if correction.name not in without:
            path = folder / correction.file
            path.write_text(corrected(path.read_text(), correction))
            made.append(correction.name)
    if "constant function" not in without:
        file, first, last, place = _MOVED
        path = folder / file
        path.write_text(_moved(path.read_text(), first, last, place))
        made.append("constant function")
    if "default net type" not in without:
        for path in sorted(folder.rglob("*.*v")):
            # Inside a module, where FINN has it, the directive is not allowed.
            text = path.read_text()
            path.write_text(re.sub(r"^`default_nettype \w+[ \t]*$", "", text, flags=re.MULTILINE))
        made.append("default net type")
    return made


def corrected(text: str, correction: Correction) -> str:
    """The text with one correction made. Raises BuildFailed unless each text that it changes is there exactly once."""
    for found, wanted in correction.edits:
        count = text.count(found)
        if count != 1:
            raise BuildFailed(
                f"FINN's {correction.file}: the correction {correction.name!r} needs {found!r} once and finds it {count} times; "
                "this release of FINN is another than the corrections were written for (finn-plus 1.6.1)"
            )
        text = text.replace(found, wanted)
    return text


def _moved(text: str, first: str, last: str, place: str) -> str:
    for words in (first, last, place):
        if text.count(words) != 1:
            raise BuildFailed(
                f"FINN's {_MOVED[0]}: the correction 'constant function' needs {words!r} once and finds it {text.count(words)} "
                "times; this release of FINN is another than the corrections were written for (finn-plus 1.6.1)"
            )
    start, end = text.index(first), text.index(last) + len(last)
    function, rest = text[start:end], text[:start] + text[end:]
    where = rest.index(place)
    return rest[:where] + function + "\n" + rest[where:]
