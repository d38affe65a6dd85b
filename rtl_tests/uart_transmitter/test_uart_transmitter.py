# SPDX-License-Identifier: Apache-2.0
"""Bench of uart_transmitter."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.uart_common.bench import run_bench
from rtl_tests.uart_transmitter.instances import INSTANCES


def test_uart_transmitter(tmp_path: Path) -> None:
    run_bench("rtl_tests.uart_transmitter.bench", "uart_transmitter", ["uart_transmitter.sv"], INSTANCES, tmp_path)
