# SPDX-License-Identifier: Apache-2.0
"""Bitwright: from a quantised neural network to hardware, verified bit for bit.

The public Python interface; everything heavy is imported when it is first used::

    import toolchain

    model = toolchain.load_model("models/digits")
    result = toolchain.build_hardware(model, board="ulx3s-85f", until="rtl", out="build/digits")
    print(result.report["ladder"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "build_hardware": "toolchain.pipeline",
    "evaluate": "toolchain.pipeline",
    "replace_weights": "toolchain.pipeline.weights",
    "inspect_model": "toolchain.pipeline.inspection",
    "compare_reports": "toolchain.report.compare",
    "read_report": "toolchain.report.report",
    "board_names": "toolchain.target",
    "find_board": "toolchain.target",
    "all_tools": "toolchain.build.tool",
    "load_model": "toolchain.frontends",
    "quantise": "toolchain.frontends.post_training",
    "Calibration": "toolchain.frontends.post_training",
    "Graph": "toolchain.ir",
    "interpret": "toolchain.ir",
    "load_graph": "toolchain.ir",
    "save_graph": "toolchain.ir",
}

__all__ = [  # the names of _PUBLIC, spelled out for tools that read this file
    "Calibration", "Graph", "__version__", "all_tools", "board_names", "build_hardware", "compare_reports", "evaluate",
    "find_board", "inspect_model", "interpret", "load_graph", "load_model", "quantise", "read_report", "replace_weights",
    "save_graph",
]  # fmt: skip

if TYPE_CHECKING:
    from toolchain.build.tool import all_tools as all_tools
    from toolchain.frontends import load_model as load_model
    from toolchain.frontends.post_training import Calibration as Calibration
    from toolchain.frontends.post_training import quantise as quantise
    from toolchain.ir import Graph as Graph
    from toolchain.ir import interpret as interpret
    from toolchain.ir import load_graph as load_graph
    from toolchain.ir import save_graph as save_graph
    from toolchain.pipeline import build_hardware as build_hardware
    from toolchain.pipeline import evaluate as evaluate
    from toolchain.pipeline.inspection import inspect_model as inspect_model
    from toolchain.pipeline.weights import replace_weights as replace_weights
    from toolchain.report.compare import compare_reports as compare_reports
    from toolchain.report.report import read_report as read_report
    from toolchain.target import board_names as board_names
    from toolchain.target import find_board as find_board


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'toolchain' has no attribute {name!r}")
