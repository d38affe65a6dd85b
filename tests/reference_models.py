# SPDX-License-Identifier: Apache-2.0
"""Where the published reference networks are: in the folder `shared` beside this repository, if it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "models"


def reference_model(name: str) -> Path:
    """The folder of a reference network; skips the test where it is not there."""
    folder = _FOLDER / name
    if not folder.is_dir():
        pytest.skip(f"needs data: the reference network {name} in {_FOLDER.parent.name}/models beside the repository")
    return folder
