# SPDX-License-Identifier: Apache-2.0
"""The instances under test: the least cycles a bit, an odd number, 3 Mbaud at 100 MHz."""

from __future__ import annotations

from rtl_tests.uart_common.bench import Instance, Port

CLOCKS_PER_BIT = (2, 7, 33)

INSTANCES = [
    Instance(
        f"d{clocks}",
        {"CLOCKS_PER_BIT": clocks},
        [
            Port("input", "rst"),
            Port("input", "byte_data", 8),
            Port("input", "byte_valid"),
            Port("output", "byte_ready"),
            Port("output", "txd"),
        ],
    )
    for clocks in CLOCKS_PER_BIT
]
