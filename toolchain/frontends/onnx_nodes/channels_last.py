# SPDX-License-Identifier: Apache-2.0
"""qonnx's operations on tensors with the channels last: those of ONNX between two transpositions, which cost nothing here."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import MAXIMUM_BITS, Constant, Quantiser
from toolchain.frontends.exact.requantise import on_step, reachable, requantise
from toolchain.frontends.exact.values import ONE, Line
from toolchain.frontends.onnx_nodes.reader import (
    Handler,
    NodeView,
    Reader,
    Result,
    Value,
    axes_of,
    handlers,
    handles,
    ordered,
)
from toolchain.ir import Rounding

#: What the domain has; of Conv the weights have their input channels last too.
OPERATIONS = ("Conv", "MaxPool", "BatchNormalization")


def read_channels_last(reader: Reader, node: NodeView) -> Result:
    """A node of qonnx's domain channels_last."""
    if node.kind not in OPERATIONS:
        raise UnsupportedModel(
            f"{node.label}: not an operation on tensors with the channels last; supported are {', '.join(OPERATIONS)}"
        )
    return _between_transpositions(reader, node, handlers()[node.kind])


@handles("MaxPoolNHWC")
def _max_pool(reader: Reader, node: NodeView) -> Result:
    return _between_transpositions(reader, replace(node, kind="MaxPool"), handlers()["MaxPool"])


@handles("QuantAvgPool2d")
def _quantised_average(reader: Reader, node: NodeView) -> Result:
    """FINN's pool of integers: the sum under each window with its low bits dropped, so that it fits `obits`."""
    node.require("data_layout", ("NCHW", "NHWC"), "NCHW")
    window, stride, in_bits, out_bits = (node.integer(k, 1) for k in ("kernel", "stride", "ibits", "obits"))
    if not (1 <= in_bits <= MAXIMUM_BITS and 1 <= out_bits <= MAXIMUM_BITS):
        raise UnsupportedModel(f"{node.label}: {in_bits} bits to {out_bits}; supported are 1 to {MAXIMUM_BITS}")
    dropped = max(0, (((1 << in_bits) - 1) * window * window).bit_length() - out_bits)
    pool = replace(node, kind="AveragePool", attributes={"kernel_shape": [window] * 2, "strides": [stride] * 2})
    if node.attributes.get("data_layout", "NCHW") == "NHWC":
        mean = _between_transpositions(reader, pool, handlers()["AveragePool"])
    else:
        mean = handlers()["AveragePool"](reader, pool)
    assert isinstance(mean, Line)
    whole = on_step(reader.walk, reader.walk.scaled(mean, [Fraction(window * window)]), (ONE,), node.site)
    shrunk = reader.walk.scaled(whole, [Fraction(1, 1 << dropped)])
    lowest, highest = reachable(reader.walk, shrunk, (ONE,))
    return requantise(reader.walk, shrunk, Quantiser((ONE,), lowest, highest, Rounding.TRUNCATE), node.site)


def _between_transpositions(reader: Reader, node: NodeView, handler: Handler) -> Result:
    turned = 2 if node.kind == "Conv" else 1
    operands = tuple(_channels_first(v) if i < turned else v for i, v in enumerate(node.operands))
    result = handler(reader, replace(node, operands=operands))
    if not isinstance(result, Line):
        raise UnsupportedModel(f"{node.label}: works on constants only; supported is a tensor that the input reaches")
    axes = axes_of(result)
    return replace(result, axes=ordered((*axes[1:], axes[0])))


def _channels_first(value: Value | None) -> Value | None:
    if isinstance(value, Constant):
        return value.transposed((0, value.values.ndim - 1, *range(1, value.values.ndim - 1)))
    if value is None:
        return None
    axes = axes_of(value)
    return replace(value, axes=ordered((axes[-1], *axes[:-1])))
