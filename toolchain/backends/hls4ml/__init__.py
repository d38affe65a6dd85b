# SPDX-License-Identifier: Apache-2.0
"""The hls4ml backend: the integer graph as C++ projects for Vitis HLS and Vivado HLS.

The hls4ml model is built from the integer graph itself, not from the framework's model, so every frontend takes the
same exact path and every precision is set. Softmax and the like stay on the host.
"""

from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS, DEFAULT_PART, FLOWS
from toolchain.backends.hls4ml.plan import default_io_type, plan
from toolchain.backends.hls4ml.support import why_unsupported

__all__ = ["DEFAULT_FLOWS", "DEFAULT_PART", "FLOWS", "default_io_type", "plan", "why_unsupported"]
