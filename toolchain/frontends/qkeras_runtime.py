# SPDX-License-Identifier: Apache-2.0
"""Imports of TensorFlow, tf_keras and QKeras, in the order and under the settings that make them work together."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from toolchain.errors import ToolNotFound, UsageError


@cache
def import_qkeras() -> Any:
    """The module `qkeras`, running on Keras 2 (tf_keras).

    Raises ToolNotFound where it is not installed, UsageError where this process has already started TensorFlow with
    Keras 3, on which QKeras does not work.
    """
    # TensorFlow decides between Keras 2 and 3 when tf.keras is first used; QKeras needs Keras 2.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the C++ side's start-up messages; errors still show
    if os.environ["TF_USE_LEGACY_KERAS"].lower() not in ("1", "true"):
        found = os.environ["TF_USE_LEGACY_KERAS"]
        raise UsageError(f"the environment sets TF_USE_LEGACY_KERAS={found}; QKeras needs TF_USE_LEGACY_KERAS=1")
    try:
        import tensorflow
        import tf_keras

        if not issubclass(tensorflow.keras.Model, tf_keras.Model):
            raise UsageError(
                "TensorFlow was started with Keras 3 in this process, and QKeras needs Keras 2: set the environment "
                "variable TF_USE_LEGACY_KERAS=1 before tensorflow is imported"
            )
        with _keras_stands_for(tf_keras):
            import qkeras
        _restore_stack(qkeras)
        _restore_recurrent(qkeras)
    except ImportError as error:
        raise ToolNotFound(
            f"QKeras cannot be imported ({error}); install it with: pip install 'bitwright[qkeras]'"
        ) from None
    return qkeras


def _restore_stack(qkeras: Any) -> None:
    """Give QConv2DTranspose the function `stack` of TensorFlow's module `array_ops`, from which 2.20 has moved it away."""
    from tensorflow.python.ops import array_ops, array_ops_stack

    if not hasattr(array_ops, "stack"):
        qkeras.qconvolutional.array_ops = SimpleNamespace(**vars(array_ops), stack=array_ops_stack.stack)


def _restore_recurrent(qkeras: Any) -> None:
    """The same for QSimpleRNN and QGRU, which call two functions that TensorFlow has renamed or moved."""
    from tensorflow.python.ops import array_ops, array_ops_stack
    from tensorflow.python.util import nest

    if not hasattr(nest, "is_sequence"):
        qkeras.qrecurrent.nest = SimpleNamespace(**vars(nest), is_sequence=nest.is_nested)
    if not hasattr(array_ops, "unstack"):
        qkeras.qrecurrent.array_ops = SimpleNamespace(**vars(array_ops), unstack=array_ops_stack.unstack)


@contextmanager
def _keras_stands_for(module: Any) -> Iterator[None]:
    """Let `import keras` give `module` meanwhile.

    A dependency of QKeras imports keras without using it when Keras 2 is asked for; that would bring in Keras 3, and with
    it scikit-learn and scipy: some five seconds of every import.
    """
    earlier = sys.modules.get("keras")
    sys.modules["keras"] = module
    try:
        yield
    finally:
        if earlier is None:
            del sys.modules["keras"]
        else:
            sys.modules["keras"] = earlier


def import_tf_keras() -> Any:
    """The module `tf_keras`, after `import_qkeras` has put everything in place."""
    import_qkeras()
    return sys.modules["tf_keras"]


def custom_objects() -> dict[str, Any]:
    """QKeras's classes that a model may name, for tf_keras's from_config."""
    from toolchain.frontends.qkeras_layers.registry import layers
    from toolchain.frontends.qkeras_quantisers import QUANTISERS

    qkeras = import_qkeras()
    names = (*(name for name in layers() if name.startswith("Q")), *QUANTISERS)
    return {name: getattr(qkeras, name) for name in names if hasattr(qkeras, name)}


def version() -> str:
    """'qkeras 0.9.0'."""
    return f"qkeras {importlib.metadata.version('qkeras')}"


def lacks(name: str) -> bool:
    """Whether QKeras is installed and has no layer or quantiser of this name, one that QKeras would call so."""
    if not name.startswith(("quantized_", "stochastic_")) and not (name[:1] == "Q" and name[1:2].isupper()):
        return False
    try:
        return not hasattr(import_qkeras(), name)
    except ToolNotFound:
        return False
