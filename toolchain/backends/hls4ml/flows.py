# SPDX-License-Identifier: Apache-2.0
"""The vendor flows for which projects are written, and what each of them can do here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flow:
    """One of hls4ml's backends.

    backend: hls4ml's name for it. platform: which words and streams its C++ has, a folder of
    `hls_templates/hls4ml/platform`; '' where the project's extension layers cannot be used. own_layers: whether hls4ml's own
    layers are used ('exact') or only the project's ('never'). csim: '' if a plain C++ compiler can run the project, else what is
    missing. default_part: for targets that are no device of the vendor's. families: of devices that the vendor's tool knows.
    clones: how many readers its hls4ml backend copies a stream for.
    """

    backend: str
    vendor_tool: str
    platform: str
    own_layers: str
    csim: str
    default_part: str
    families: tuple[str, ...]
    clones: int = 7


_AMD = ("xc7", "usplus", "versal")
#: hls4ml's own default, a Virtex UltraScale+.
DEFAULT_PART = "xcvu13p-flga2577-2-e"
_NO_EXTENSIONS = "hls4ml's {} backend has no place for layers of the project's own"

#: Folder in the plan -> flow.
FLOWS = {
    "vitis": Flow("Vitis", "Vitis HLS", "ap", "exact", "", DEFAULT_PART, _AMD),
    "vivado": Flow("Vivado", "Vivado HLS", "ap", "exact", "", DEFAULT_PART, _AMD),
    "vivado_accelerator": Flow(
        "VivadoAccelerator", "Vivado HLS and Vivado", "ap", "exact", "", "xc7z020clg400-1", _AMD
    ),
    "quartus": Flow("Quartus", "Intel HLS compiler", "quartus", "never", "", "Arria10", ("intel",), 3),
    "catapult": Flow("Catapult", "Siemens Catapult", "catapult", "never", "", DEFAULT_PART, _AMD),
    "oneapi": Flow(
        "oneAPI", "Intel oneAPI", "", "exact", "its C++ needs SYCL and the compiler icpx", "Agilex7", ("intel",)
    ),
    "libero": Flow(
        "Libero", "Microchip SmartHLS", "", "exact", "its headers hls/ap_int.hpp come with SmartHLS only", "MPF300", ()
    ),
}
#: Written where nothing else is asked for.
DEFAULT_FLOWS = ("vitis", "vivado")
