# SPDX-License-Identifier: Apache-2.0
"""Activations: quantisers, Keras's plain functions, and those that stay on the host, as layers or inside one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import RECTIFIER, Curve
from toolchain.frontends.exact.tabulate import tabulate
from toolchain.frontends.exact.values import RealInput, Site
from toolchain.frontends.qkeras_layers.registry import KerasWalk, OnHost, Value
from toolchain.frontends.qkeras_quantisers import framework_function, is_quantiser, quantise, unsupported_quantiser
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

#: Functions that, as a model's last step, stay on the host: the graph ends before them.
HOST_FUNCTIONS = ("softmax", "sigmoid")
#: Functions of one value that need a quantiser after them; of Keras and of QKeras.
_KERAS_CURVES = (
    "elu", "exponential", "gelu", "hard_sigmoid", "mish", "selu", "sigmoid", "softplus", "softsign", "swish", "tanh"
)  # fmt: skip
_QKERAS_CURVES = ("hard_tanh", "smooth_sigmoid", "smooth_tanh")
#: Functions of QKeras whose results are integers.
_QKERAS_STEPS = ("binary_sigmoid", "binary_tanh")
#: What a file may name as an activation, besides quantisers.
FUNCTIONS = ("linear", "relu", "softmax", *_KERAS_CURVES, *_QKERAS_CURVES, *_QKERAS_STEPS)


def activated(walk: KerasWalk, value: Value, function: Any, site: Site) -> Value:
    """The value after an activation: None, a quantiser object, or one of Keras's and QKeras's functions."""
    if isinstance(function, type):
        function = function()  # QActivation("quantized_relu") keeps the class; QKeras then applies its defaults
    name = "linear" if function is None else _name(function)
    if name == "linear":
        return value
    if is_quantiser(function):
        return quantise(walk, value, function, site)
    if name == "relu":
        line = walk.line(value, site)
        return replace(line, functions=(*line.functions, RECTIFIER))
    if name in _QKERAS_STEPS:
        return tabulate(walk, walk.line(value, site), framework_function(function), None, site)
    curve = Curve(name, framework_function(function)) if name in (*_KERAS_CURVES, *_QKERAS_CURVES) else None
    if name in HOST_FUNCTIONS:
        before = walk.moved(value, site)
        if isinstance(before, RealInput):
            before = walk.line(before, site)  # raises: the input has no type
        return OnHost(before, name, curve)
    if curve is None:
        found = getattr(function, "__name__", type(function).__name__)
        raise UnsupportedModel(unsupported_quantiser(site.label, found))
    line = walk.line(value, site)
    return replace(line, functions=(*line.functions, curve))


def _name(function: Any) -> str:
    """The name of a plain function if it is really Keras's or QKeras's function of that name, else ''."""
    name = getattr(function, "__name__", "")
    if name not in FUNCTIONS:
        return ""
    home = import_qkeras().quantizers if name in (*_QKERAS_CURVES, *_QKERAS_STEPS) else import_tf_keras().activations
    if function is getattr(home, name, None):
        return str(name)
    # QKeras has a hard sigmoid of its own, with another slope.
    own = name == "hard_sigmoid" and function is import_qkeras().quantizers.hard_sigmoid
    return name if own else ""
