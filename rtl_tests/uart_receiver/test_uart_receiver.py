# SPDX-License-Identifier: Apache-2.0
"""Bench of uart_receiver."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.uart_common.bench import run_bench
from rtl_tests.uart_receiver.instances import INSTANCES


def test_uart_receiver(tmp_path: Path) -> None:
    run_bench("rtl_tests.uart_receiver.bench", "uart_receiver", ["uart_receiver.sv"], INSTANCES, tmp_path)
