# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: a plain float model and samples of its inputs become a quantised ONNX file.

All float models go the same way: to an ONNX graph (`sources`), made ready (`float_graph`), with quantisers placed (`places`),
formats found on calibration samples (`ranges`, `steps`), optionally corrected biases (`correction`), and written as QDQ
(`write`), which the ONNX frontend reads like any other such file. See docs/decisions for the libraries that do the parts.
"""

from __future__ import annotations

from toolchain.frontends.post_training.flow import QuantisedModel, quantise
from toolchain.frontends.post_training.settings import METHODS, Calibration

__all__ = ["METHODS", "Calibration", "QuantisedModel", "quantise"]
