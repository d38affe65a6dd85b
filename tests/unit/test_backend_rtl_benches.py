# SPDX-License-Identifier: Apache-2.0
"""Each module of the RTL library that works on a stream has a bench of its own, as docs/rtl.md says."""

from __future__ import annotations

import re
from pathlib import Path

from toolchain.data_folders import RTL_LIBRARY

BENCHES = Path(__file__).parents[2] / "rtl_tests"
#: Streaming modules that no network has by themselves: the bench of the module that instances them sweeps them.
INSIDE = {"stream_narrow": "stream_width_converter", "stream_widen": "stream_width_converter"}


def test_each_streaming_module_has_a_bench() -> None:
    texts = {path.stem: path.read_text() for path in RTL_LIBRARY.glob("*.sv")}
    streaming = {name for name, text in texts.items() if re.search(r"\bs_axis\w*_tdata,", text)}
    assert {"add_bias", "stream_combine", "stream_fifo", *INSIDE} <= streaming
    assert "multiplier" not in streaming
    missing = [
        name
        for name in sorted(streaming - set(INSIDE))
        if not (BENCHES / name / f"test_{name}.py").is_file()
        or f'module="{name}"' not in (BENCHES / name / f"test_{name}.py").read_text()
    ]
    assert not missing, f"modules without a bench: write rtl_tests/<module>/test_<module>.py for {', '.join(missing)}"
    for inner, outer in INSIDE.items():
        assert re.search(rf"\b{inner} #\(", texts[outer])
        users = [name for name, text in texts.items() if re.search(rf"^\s*{inner} #\(", text, re.MULTILINE)]
        assert users == [outer], f"{inner} is used by {users}: it needs a bench of its own"
