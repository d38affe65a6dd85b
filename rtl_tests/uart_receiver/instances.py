# SPDX-License-Identifier: Apache-2.0
"""The instances under test: the least cycles a bit, an odd number, 3 Mbaud and 1 Mbaud at 100 MHz."""

from __future__ import annotations

from rtl_tests.uart_common.bench import Instance, Port

CLOCKS_PER_BIT = (4, 9, 33, 100)

INSTANCES = [
    Instance(
        f"d{clocks}",
        {"CLOCKS_PER_BIT": clocks},
        [
            Port("input", "rst"),
            Port("input", "rxd"),
            Port("output", "byte_data", 8),
            Port("output", "byte_valid"),
            Port("output", "framing_error"),
        ],
    )
    for clocks in CLOCKS_PER_BIT
]
