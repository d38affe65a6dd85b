# SPDX-License-Identifier: Apache-2.0
"""Bench of uart_frame_link."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.uart_common.bench import run_bench
from rtl_tests.uart_frame_link.instances import INSTANCES

FILES = ["uart_frame_link.sv", "crc16_step.sv"]


def test_uart_frame_link(tmp_path: Path) -> None:
    run_bench("rtl_tests.uart_frame_link.bench", "uart_frame_link", FILES, INSTANCES, tmp_path)
