# SPDX-License-Identifier: Apache-2.0
"""The table of docs/rtl.md, from the modules' headers: ``python -m toolchain.backends.rtl.document docs/rtl.md``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from toolchain.data_folders import RTL_LIBRARY
from toolchain.ir.document import fill_parts


def modules() -> str:
    """A line a module: its name, and the first sentence of its header."""
    lines = ["| module | what it does |", "| --- | --- |"]
    for path in sorted(RTL_LIBRARY.glob("*.sv")):
        lines.append(f"| `{path.stem}` | {_sentence(path.read_text(encoding='utf-8'))} |")
    return "\n".join(lines)


def _sentence(text: str) -> str:
    """The header's first paragraph up to the end of a sentence, without its full stop."""
    paragraph = text.split("\n//\n")[1]
    words = " ".join(line.removeprefix("//").strip() for line in paragraph.splitlines())
    return re.split(r"\.(?:\s|$)", words)[0].replace("|", "\\|")


def fill(text: str) -> str:
    """`text` with its table made anew."""
    return fill_parts(text, {"modules": modules})


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
