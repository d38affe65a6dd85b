# SPDX-License-Identifier: Apache-2.0
"""Streams recorded in a simulation as a value change dump, which every waveform viewer opens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np


def write_waveform(
    path: Path,
    facts: Mapping[str, Any],
    streams: Sequence[str],
    stream_bytes: Sequence[int],
    rows: np.ndarray,
    first_cycle: int,
) -> None:
    """Write `path`, whole or not at all: clk, and tdata, tvalid and tready of every stream; a cycle is 10 ns, from `first_cycle` on.

    facts: of the plan. rows: uint8, one row a cycle: for each stream valid (1) and ready (2), then its data, lowest byte first.
    """
    from vcd.writer import VCDWriter

    top = facts["top"]
    starts = [0, *accumulate(size + 1 for size in stream_bytes)]
    # Threads that run instances of one design may come here together.
    partial = path.with_name(f"{path.name}.{os.getpid()}.{get_ident()}")
    with partial.open("w") as file, VCDWriter(file, timescale="1 ns", init_timestamp=first_cycle * 10) as writer:
        clock = writer.register_var(top, "clk", "wire", size=1, init=0)
        signals = [
            (
                writer.register_var(top, f"{stream}_tvalid", "wire", size=1),
                writer.register_var(top, f"{stream}_tready", "wire", size=1),
                writer.register_var(top, f"{stream}_tdata", "wire", size=8 * size),
            )
            for stream, size in zip(streams, stream_bytes, strict=True)
        ]
        before: list[bytes] = [b""] * len(streams)
        for cycle, row in enumerate(rows, first_cycle):
            for number, (valid, ready, data) in enumerate(signals):
                found = row[starts[number] : starts[number + 1]].tobytes()
                if found != before[number]:
                    writer.change(valid, 10 * cycle, found[0] & 1)
                    writer.change(ready, 10 * cycle, found[0] >> 1 & 1)
                    writer.change(data, 10 * cycle, int.from_bytes(found[1:], "little"))
                    before[number] = found
            writer.change(clock, 10 * cycle, 0)
            writer.change(clock, 10 * cycle + 5, 1)
    partial.replace(path)
