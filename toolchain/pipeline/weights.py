# SPDX-License-Identifier: Apache-2.0
"""`bitwright weights`: another model's constants for hardware that is built, checked in the build's own simulation."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchain.build.schedule import Progress, Silent
from toolchain.deploy.weights import require_loadable, weights_for
from toolchain.errors import InputError, UsageError
from toolchain.frontends import load_model
from toolchain.passes.absorb_transpose import absorb_transpose
from toolchain.pipeline.context import refuse_mismatch
from toolchain.verify.vectors import random_vectors

#: Vectors of the check in simulation.
_VECTORS = 1000


def replace_weights(
    model: Any,
    *,
    build: str | os.PathLike[str],
    out: str | os.PathLike[str],
    input_type: str | Sequence[str] | None = None,
    input_samples: Any = None,
    input_bits: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    check: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the list of writes over AXI4-Lite that put `model` into the hardware in folder `build`.

    model: a path or name as for `toolchain.load_model`, or the LoadedModel it returned; it is the build's network with other
    constants. out: a file of lines 'byte address,word', both in hexadecimal, to be written in this order while no frame is
    under way. check: run the writes and random vectors in the build's simulation (rung 3), where it has one, against the
    interpreter. input_type and the others: as for `toolchain.load_model`.
    Returns identification, writes (how many), memories, file, and checked_vectors (0 where there is no simulation).
    Raises UsageError where the model does not fit, Mismatch where the simulation gives other integers.
    """
    progress = progress or Silent()
    folder, path = Path(build), Path(out)
    facts = _facts(folder)
    require_loadable(facts)
    progress.started("load", "the framework and the model")
    loaded = model
    if not hasattr(model, "graph"):
        named = Path(weights) if weights is not None else None
        loaded = load_model(
            model, input_type=input_type, input_samples=input_samples, input_bits=input_bits, weights=named
        )
    progress.finished("load")
    found = weights_for(absorb_transpose(loaded.graph), facts)
    checked = 0
    if check and (folder / "simulation" / "simulation.so").is_file():
        from toolchain.verify.simulate import load_simulation, verify_bulk

        progress.started("check", f"{_VECTORS} vectors in the build's simulation")
        library = load_simulation(folder / "rtl", facts, folder / "simulation")
        library.writes = found.writes
        library.waveform_folder = path.parent
        result = verify_bulk(found.graph, library, random_vectors(found.graph, _VECTORS, seed=8))
        refuse_mismatch("simulation with the loaded weights", result.mismatches, result.first_mismatch)
        checked = result.vectors
        progress.finished("check")
    lines = "".join(f"0x{address:08x},0x{word:08x}\n" for address, word in found.writes)
    try:
        path.write_text(lines)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    return {
        "identification": f"0x{found.identification:08x}",
        "writes": len(found.writes),
        "memories": len(facts["loadable"]["memories"]),
        "checked_vectors": checked,
        "file": str(path),
    }


def _facts(folder: Path) -> dict[str, Any]:
    """The facts of the plan in a build's folder."""
    try:
        facts: dict[str, Any] = json.loads((folder / "rtl" / "stage.json").read_text())["facts"]["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{folder} holds no RTL of a build; give the folder of a `bitwright build --loadable-weights`"
        ) from None
    return facts
