# SPDX-License-Identifier: Apache-2.0
"""Float Keras models as ONNX, by tf2onnx: tf_keras objects, and files of Keras 2 and 3 opened without running any of their code."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import ToolNotFound, UnsupportedModel
from toolchain.frontends.post_training.float_graph import name_nodes
from toolchain.frontends.qkeras_file import load_file
from toolchain.frontends.qkeras_layers.registry import layers
from toolchain.frontends.qkeras_runtime import import_tf_keras

#: The newest version of ONNX's operations that tf2onnx writes.
_OPSET = 18
_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
#: Layers with float weights, which the frontend of quantised models refuses: class -> the entries that a file may set.
_FLOAT_LAYERS: dict[str, tuple[str, ...]] = {
    "Dense": ("units", "activation", "use_bias"),
    "Conv1D": ("filters", "groups", *_WINDOW),
    "Conv2D": ("filters", "groups", *_WINDOW),
    "Conv1DTranspose": ("filters", "output_padding", *_WINDOW),
    "Conv2DTranspose": ("filters", "output_padding", *_WINDOW),
    "DepthwiseConv1D": ("depth_multiplier", *_WINDOW),
    "DepthwiseConv2D": ("depth_multiplier", *_WINDOW),
    "SeparableConv1D": ("filters", "depth_multiplier", *_WINDOW),
    "SeparableConv2D": ("filters", "depth_multiplier", *_WINDOW),
    "ELU": ("alpha",),
    "PReLU": ("shared_axes",),
    "ThresholdedReLU": ("theta",),
    "Rescaling": ("scale", "offset"),
    "BatchNormalization": ("axis", "epsilon", "center", "scale"),
}

Source = tuple[str, Any, Callable[[np.ndarray], np.ndarray]]


@cache
def plain_layers() -> dict[str, tuple[str, ...]]:
    """The layers that a float model in a file may have, with the entries that decide what they compute."""
    others = {name: reader.entries for name, reader in layers().items() if not name.startswith("Q")}
    return {**others, **_FLOAT_LAYERS}


def from_file(path: Path) -> Source:
    """(framework, ModelProto, the framework's own forward) of a float model in a Keras file or a SavedModel folder."""
    return from_model(load_file(path, plain=plain_layers()), str(path))


def from_model(model: Any, where: str = "") -> Source:
    """The same of a tf_keras model.

    Raises UnsupportedModel where it is quantised already, not built, of Keras 3, or cannot be converted.
    """
    tf_keras = import_tf_keras()
    where = where or f"model {getattr(model, 'name', type(model).__name__)!r}"
    if not isinstance(model, tf_keras.Model):
        raise UnsupportedModel(
            f"{where}: is an object of Keras 3 and would need a process of its own; save it (model.save('model.keras')) and give "
            "the file"
        )
    _require_float(model, where)
    if not getattr(model, "outputs", None):
        raise UnsupportedModel(f"{where}: is not built: its input shape is unknown; begin it with an Input layer")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedModel(
            f"{where}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs; supported for quantisation is one each"
        )
    import tensorflow

    try:
        with _quiet():
            import tf2onnx

            shape = [None, *model.inputs[0].shape[1:]]
            signature = [tensorflow.TensorSpec(shape, tensorflow.float32, name="x")]
            proto, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=_OPSET)
    except ImportError as error:
        raise ToolNotFound(
            f"converting a Keras model needs tf2onnx ({error}); install it with: pip install 'bitwright[post-training]'"
        ) from None
    except Exception as error:  # it raises many kinds for operations that ONNX has not
        reason = str(error).strip().partition("\n")[0][:300]
        raise UnsupportedModel(f"{where}: tf2onnx cannot convert it ({type(error).__name__}: {reason})") from None
    _name_nodes(proto, model.name)
    _plain_repeats(proto)
    version = getattr(tf_keras, "__version__", "2")
    return f"tf_keras {version}", proto, lambda x: np.asarray(model(np.asarray(x, np.float32), training=False))


def _require_float(model: Any, where: str) -> None:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _require_float(layer, where)
        elif type(layer).__module__.partition(".")[0] in ("qkeras", "tensorflow_model_optimization"):
            raise UnsupportedModel(
                f"{where}: is quantised already (layer {layer.name!r}, {type(layer).__name__}); build it as it is"
            )


def _name_nodes(proto: Any, model_name: str) -> None:
    """Nodes by the layer's name: 'conv1/Conv2D' for tf2onnx's 'model/conv1/Conv2D__66', whose number counts on from model to
    model."""
    for node in proto.graph.node:
        node.name = re.sub(r"__\d+$", "", node.name.removeprefix(f"{model_name}/"))
        del node.metadata_props[:]
        node.doc_string = ""
    name_nodes(proto.graph)


def _plain_repeats(proto: Any) -> None:
    """Write upsampling by whole factors, which repeats every element, in the mode that newer versions of ONNX have for it.

    ``floor((i + 1/2) / factor)`` is ``floor(i / factor)`` for a whole factor.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "Resize" or len(node.input) < 3 or node.input[2] not in constants:
            continue
        factors = numpy_helper.to_array(constants[node.input[2]])
        modes = {attribute.name: attribute for attribute in node.attribute}
        mode, nearest = modes.get("coordinate_transformation_mode"), modes.get("nearest_mode")
        if mode is None or nearest is None or mode.s != b"tf_half_pixel_for_nn" or nearest.s != b"floor":
            continue
        if (factors == np.rint(factors)).all() and (factors >= 1).all():
            mode.s = b"asymmetric"


@contextlib.contextmanager
def _quiet() -> Any:
    """Without tf2onnx's progress and TensorFlow's notes on it."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
