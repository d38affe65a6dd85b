# SPDX-License-Identifier: Apache-2.0
"""What post-training quantisation did, in the terminal: the accuracy before and after, and what became of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.report.terminal import add_row, console_for, plain, table_for


def print_quantisation(record: Mapping[str, Any], folder: Path) -> None:
    """Print a record (see `toolchain.frontends.post_training`). folder: where the model was written."""
    console = console_for()
    activations = table_for(
        "Activations", ("tensor", False), ("type", False), ("step", True), ("values", False), ("clipped", True)
    )
    for entry in record["activations"]:
        kind = f"{'' if entry['signed'] else 'u'}int{entry['bits']}"
        ends = f"{entry['lowest']:.4g} to {entry['highest']:.4g}"
        add_row(activations, entry["tensor"], kind, f"{entry['step']:g}", ends, f"{100 * entry['clipped_share']:.3g} %")
    console.print(activations)
    weights = table_for(
        "Weights", ("layer", False), ("operation", False), ("type", False), ("step", False), ("RMS error", True)
    )
    for entry in record["weights"]:
        steps = entry["steps"]
        shown = f"{steps[0]:g}" if len(steps) == 1 else f"{steps[0]:g} to {steps[-1]:g}"
        error = f"{entry['root_mean_square_error']:.3g}"
        add_row(weights, entry["layer"], entry["operation"], f"int{entry['bits']}", shown, error)
    console.print(weights)
    for line in accuracy_lines(record):
        console.print(plain(line), markup=False)
    console.print(plain(f"written to {folder}; build it with: bitwright build {folder} --out DIR"), markup=False)


def accuracy_lines(record: Mapping[str, Any]) -> list[str]:
    """Before and after, in words."""
    accuracy = record["accuracy"]
    lines = []
    if accuracy["before"] is not None:
        before, after = (f"{100 * accuracy[when]:.2f} %" for when in ("before", "after"))
        lines.append(f"accuracy {before} before, {after} after, on {accuracy['vectors']} {accuracy['on']}")
    if accuracy["agreement"] is not None:
        lines.append(
            f"the same class as before for {100 * accuracy['agreement']:.2f} % of {accuracy['vectors']} {accuracy['on']}"
        )
    if accuracy["signal_to_noise_db"] is not None:
        lines.append(
            f"float outputs to difference {accuracy['signal_to_noise_db']:g} dB, largest difference "
            f"{accuracy['largest_difference']:.4g}"
        )
    return lines or [f"no difference to the float model on {accuracy['vectors']} {accuracy['on']}"]
