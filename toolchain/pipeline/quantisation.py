# SPDX-License-Identifier: Apache-2.0
"""`bitwright quantise`: a float model and calibration samples become a model folder that every other command takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolchain.build.schedule import Progress, Silent
from toolchain.frontends.post_training import Calibration, QuantisedModel, quantise
from toolchain.frontends.post_training.folder import require_writable


def quantise_model(
    model: Any,
    calibration: Calibration,
    *,
    out: str | os.PathLike[str] | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> QuantisedModel:
    """Quantise a float model after its training, and with `out` write its model folder.

    model: an ONNX or Keras file, a SavedModel folder, a model folder, a tf_keras model, or a torch module.
    input_shape: for a torch module, the shape of one sample; that of the calibration samples where left out.
    weights: for a torch module, a file of its state_dict.
    The result's `record` says what was done and what it cost; `toolchain.load_model(out)` reads the folder.
    Raises what `toolchain.frontends.post_training.quantise` raises.
    """
    progress = progress or Silent()
    if out is not None:
        require_writable(Path(out))

    told = ""

    def say(step: str, share: float) -> None:
        nonlocal told
        if step != told:
            progress.started("quantise", step)
            told = step
        progress.advanced("quantise", share, 1.0, step)

    result = quantise(
        model,
        calibration,
        input_shape=input_shape,
        weights=None if weights is None else Path(weights),
        progress=say,
    )
    if out is not None:
        result.save(Path(out))
    progress.finished("quantise")
    return result
