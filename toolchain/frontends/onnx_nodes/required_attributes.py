# SPDX-License-Identifier: Apache-2.0
"""Attributes without which qonnx cannot execute its own operations, although what they mean could be guessed."""

from __future__ import annotations

from toolchain.errors import InputError
from toolchain.frontends.onnx_layout import CHANNELS_LAST_DOMAIN
from toolchain.frontends.onnx_nodes.reader import NodeView

_BIT = "0 or 1"
_SIZES = "one whole number for each spatial axis"
_PADS = "one whole number for each end of each spatial axis"
_MODE = "a rounding mode such as 'FLOOR'"
_POSITIVE = "a positive whole number"

#: (Domain, operation) -> attribute -> what it may be.
REQUIRED: dict[tuple[str, str], dict[str, str]] = {
    ("qonnx.custom_op.general", "Quant"): {"signed": _BIT, "narrow": _BIT},
    ("qonnx.custom_op.general", "IntQuant"): {"signed": _BIT, "narrow": _BIT},
    ("qonnx.custom_op.general", "Trunc"): {"rounding_mode": _MODE},
    ("qonnx.custom_op.general", "MultiThreshold"): {"out_dtype": "a type of qonnx such as 'UINT4'"},
    ("qonnx.custom_op.general", "MaxPoolNHWC"): {"kernel_shape": _SIZES, "strides": _SIZES, "pads": _PADS},
    ("qonnx.custom_op.general", "QuantAvgPool2d"): {
        "kernel": _POSITIVE,
        "stride": _POSITIVE,
        "ibits": _POSITIVE,
        "obits": _POSITIVE,
        "signed": _BIT,
    },
    (CHANNELS_LAST_DOMAIN, "Conv"): {
        "kernel_shape": _SIZES,
        "strides": _SIZES,
        "dilations": _SIZES,
        "pads": _PADS,
    },
    (CHANNELS_LAST_DOMAIN, "MaxPool"): {"kernel_shape": _SIZES, "strides": _SIZES, "pads": _PADS},
}


def require_attributes(domain: str, node: NodeView) -> None:
    """Raise InputError where a node lacks an attribute that the operation has to have."""
    for name, allowed in REQUIRED.get((domain, node.kind), {}).items():
        if name not in node.attributes:
            raise InputError(
                f"{node.label}: has no attribute {name!r}, without which qonnx cannot execute it; give it ({allowed}), or export "
                "the model again"
            )
