# SPDX-License-Identifier: Apache-2.0
"""The instances under test: the smallest frames, odd sizes, beats wider than the head of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from rtl_tests.uart_common.bench import Instance, Port

IDLE_TIMEOUT = 40
RUN_TIMEOUT = 300


@dataclass(frozen=True)
class Sizes:
    name: str
    input_beats: int
    input_bytes: int
    output_beats: int
    output_bytes: int
    design_id: int


SIZES = (
    Sizes("least", 1, 1, 1, 1, 0x00000001),
    Sizes("odd", 5, 3, 3, 2, 0xC0FFEE42),
    Sizes("wide", 2, 17, 2, 20, 0xFFFFFFFF),
    Sizes("long", 33, 1, 17, 1, 0x01020304),
)

INSTANCES = [
    Instance(
        s.name,
        {
            "INPUT_BEATS": s.input_beats,
            "INPUT_BYTES": s.input_bytes,
            "OUTPUT_BEATS": s.output_beats,
            "OUTPUT_BYTES": s.output_bytes,
            "DESIGN_ID": s.design_id,
            "IDLE_TIMEOUT_CYCLES": IDLE_TIMEOUT,
            "RUN_TIMEOUT_CYCLES": RUN_TIMEOUT,
        },
        [
            Port("input", "rst"),
            Port("input", "rx_data", 8),
            Port("input", "rx_valid"),
            Port("input", "rx_framing_error"),
            Port("output", "tx_data", 8),
            Port("output", "tx_valid"),
            Port("input", "tx_ready"),
            Port("output", "core_rst"),
            Port("output", "m_axis_tdata", 8 * s.input_bytes),
            Port("output", "m_axis_tvalid"),
            Port("input", "m_axis_tready"),
            Port("input", "s_axis_tdata", 8 * s.output_bytes),
            Port("input", "s_axis_tvalid"),
            Port("output", "s_axis_tready"),
            Port("input", "s_axis_tlast"),
            Port("output", "busy"),
            Port("output", "failed"),
        ],
    )
    for s in SIZES
]
