# SPDX-License-Identifier: Apache-2.0
"""What a person with a board wants beside the toolchain: a loader for bitstreams, a serial port."""

from __future__ import annotations

from toolchain.build.tool import Tool, program, python_package

TOOLS = [
    Tool(
        "openFPGALoader",
        lost="bitstreams are made, but have to be loaded with another program",
        install="apt install openfpgaloader",
        find=program("openFPGALoader", ("--Version",), r"v?(\d+\.\d+\S*)"),
        optional=True,
    ),
    Tool(
        "pyserial",
        lost="the host driver cannot talk to a board",
        install="pip install 'bitwright[boards]'",
        find=python_package("pyserial", "serial"),
        optional=True,
    ),
]
