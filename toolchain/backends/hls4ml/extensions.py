# SPDX-License-Identifier: Apache-2.0
"""The project's own layers, registered through hls4ml's extension interface. Imports hls4ml: import it lazily.

Each kind has a header `bitwright_<name>.h` and a configuration struct `config/<name>.h` in `hls_templates/hls4ml`.
"""

from __future__ import annotations

from functools import cache
from math import prod
from string import Template
from typing import Any

from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.layers import Layer, register_layer

from toolchain.backends.hls4ml.flows import FLOWS
from toolchain.data_folders import HLS_TEMPLATES

_SOURCES = HLS_TEMPLATES / "hls4ml"


class _ExtensionLayer(Layer):
    """Base of the extension layers.

    Attributes in: target_shape (the result's shape), parameters (values for the configuration struct), and where the
    layer has constants, constants_data.
    """

    #: Name of the header and of the configuration struct; and the C++ function that is called.
    source: str
    function: str

    def initialize(self) -> None:
        self.add_output_variable(list(self.get_attr("target_shape")))
        if self.get_attr("constants_data") is not None:
            self.add_weights_variable(name="constants", var_name="constants{index}")


class BitwrightAddBias(_ExtensionLayer):
    source, function = "add_bias", "elementwise"


class BitwrightArgMax(_ExtensionLayer):
    source, function = "argmax", "argmax"


class BitwrightCombine(_ExtensionLayer):
    source, function = "combine", "combine"


class BitwrightConstant(_ExtensionLayer):
    source, function = "constant", "constant"

    def initialize(self) -> None:
        # hls4ml lets a layer without inputs read the layer before it.
        self.inputs: list[str] = []
        super().initialize()

    def get_input_variable(self, input_name: str = "") -> Any:
        """None: hls4ml's passes look at the first input of every layer."""
        return None


class BitwrightConv(_ExtensionLayer):
    source, function = "conv", "conv"


class BitwrightCopy(_ExtensionLayer):
    source, function = "copy", "copy"


class BitwrightJoin(_ExtensionLayer):
    source, function = "join", "join"


class BitwrightLookup(_ExtensionLayer):
    source, function = "lookup", "elementwise"


class BitwrightMove(_ExtensionLayer):
    source, function = "move", "move"


class BitwrightPool(_ExtensionLayer):
    source, function = "pool", "pool"


class BitwrightRelu(_ExtensionLayer):
    source, function = "relu", "elementwise"


class BitwrightRequantise(_ExtensionLayer):
    source, function = "requantise", "elementwise"


class BitwrightScale(_ExtensionLayer):
    source, function = "scale", "elementwise"


class BitwrightThreshold(_ExtensionLayer):
    source, function = "threshold", "elementwise"


class BitwrightTopK(_ExtensionLayer):
    source, function = "top_k", "top_k"


EXTENSIONS = (
    BitwrightAddBias,
    BitwrightArgMax,
    BitwrightCombine,
    BitwrightConstant,
    BitwrightConv,
    BitwrightCopy,
    BitwrightJoin,
    BitwrightLookup,
    BitwrightMove,
    BitwrightPool,
    BitwrightRelu,
    BitwrightRequantise,
    BitwrightScale,
    BitwrightThreshold,
    BitwrightTopK,
)


class _ExtensionConfig(LayerConfigTemplate):
    def __init__(self) -> None:
        super().__init__(EXTENSIONS)

    def format(self, node: Any) -> str:
        values = {
            "index": node.index,
            "n_in": prod(node.get_input_variable().shape) if node.inputs else 0,
            **{name: _cpp(value) for name, value in node.get_attr("parameters").items()},
        }
        if node.get_attr("constants") is not None:
            values["constant_t"] = node.get_weights("constants").type.name
        return Template((_SOURCES / "config" / f"{node.source}.h").read_text()).substitute(values)


class _ExtensionCall(FunctionCallTemplate):
    def __init__(self) -> None:
        super().__init__(EXTENSIONS)

    def transform(self, model: Any, node: Any) -> bool:
        super().transform(model, node)
        node.set_attr("include_header", [f"nnet_utils/bitwright_{node.source}.h"])
        return False

    def format(self, node: Any) -> str:
        # Each entry of `inputs` is an operand, also where a parallel array is read twice.
        variables = [*(node.get_input_variable(name) for name in node.inputs), node.get_output_variable()]
        arguments = [variable.name for variable in variables]
        if node.get_attr("constants") is not None:
            arguments.append(node.get_weights("constants").name)
        types = [variable.type.name for variable in variables]
        return f"bitwright::{node.function}<{', '.join([*types, f'config{node.index}'])}>({', '.join(arguments)});"


def _cpp(value: Any) -> str:
    """A number, a truth value, a list of numbers or the name of a type as C++ writes it."""
    if isinstance(value, tuple):
        return f"{{{', '.join(str(number) for number in value)}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def register() -> None:
    """Make the layers known to hls4ml's backends, once per process."""
    for layer in EXTENSIONS:
        register_layer(layer.__name__, layer)
    for flow in FLOWS.values():
        if not flow.platform:
            continue
        backend = get_backend(flow.backend)
        # The flows of Vitis and VivadoAccelerator run Vivado's templates, but each backend copies its own extra sources.
        if flow.backend not in ("Vitis", "VivadoAccelerator"):
            backend.register_template(_ExtensionConfig)
            backend.register_template(_ExtensionCall)
        for folder in (_SOURCES, _SOURCES / "platform" / flow.platform):
            for header in sorted(folder.glob("bitwright_*.h")):
                backend.register_source(header.resolve())
