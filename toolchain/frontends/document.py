# SPDX-License-Identifier: Apache-2.0
"""The lists of docs/frontends.md, from the registries: ``python -m toolchain.frontends.document docs/frontends.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from toolchain.ir.document import fill_parts


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def keras_layers() -> str:
    from toolchain.frontends.qkeras_layers.registry import layers

    # Inputs have no reader: the walk through the model begins with them.
    return _listed(sorted([*layers(), "Input", "InputLayer"]))


def keras_quantisers() -> str:
    from toolchain.frontends.qkeras_layers.functions import FUNCTIONS
    from toolchain.frontends.qkeras_quantisers import QUANTISERS

    # A bernoulli quantiser is read in order to be refused with its reason.
    quantisers = _listed([name for name in QUANTISERS if name != "bernoulli"])
    return f"{quantisers}; as an activation also {_listed(sorted(FUNCTIONS))}"


def onnx_operations() -> str:
    from toolchain.frontends.onnx_nodes.reader import handlers

    return _listed(sorted(handlers()))


def fill(text: str) -> str:
    """`text` with its lists made anew."""
    return fill_parts(text, {"keras": keras_layers, "quantisers": keras_quantisers, "onnx": onnx_operations})


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(fill(page.read_text()))
