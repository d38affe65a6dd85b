# SPDX-License-Identifier: Apache-2.0
"""Where the folders of data are: boards/, hls_templates/, models/, rtl_tests/.

In a checkout `toolchain/data/<name>` is a link to the top-level folder; in an installed wheel it is a copy of it.
"""

from __future__ import annotations

from pathlib import Path

BOARDS = Path(__file__).parent / "data" / "boards"
HLS_TEMPLATES = Path(__file__).parent / "data" / "hls_templates"
MODELS = Path(__file__).parent / "data" / "models"
RTL_TESTS = Path(__file__).parent / "data" / "rtl_tests"
#: What the commonly used devices of AMD have.
AMD_DEVICES = Path(__file__).parent / "amd_devices.toml"
#: The streaming kernels, one SystemVerilog module a file.
RTL_LIBRARY = Path(__file__).parent / "backends" / "rtl" / "lib"
