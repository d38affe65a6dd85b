# SPDX-License-Identifier: Apache-2.0
"""The integer graph as a QONNX file that qonnx executes to exactly the same integers, for Netron, FINN and hls4ml.

A tensor of the file holds the real value ``integer * 2**-fraction`` as float32 (free scales stay outside, in the file's
metadata), so every Quant node has a power-of-two scale. float32 is exact for magnitudes up to 2**24 steps; a graph that
needs more anywhere is refused, naming the node.

How an operation is written is a function under ``@lowers(...)`` in one of this package's modules. ONNX's convolutions and
pools take channels first: from one of them on, samples stay in that order as long as the operations after it do not mind,
and a Transpose stands where the graph's own order is needed again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from toolchain.errors import ToolNotFound, UnsupportedModel
from toolchain.ir.export_qonnx import arithmetic, moving, requantise, selecting, tables, windows
from toolchain.ir.export_qonnx.emitter import QONNX_DOMAIN, Emitter
from toolchain.ir.export_qonnx.registry import LOWERINGS
from toolchain.ir.graph import Graph
from toolchain.ir.operation import Operation
from toolchain.ir.ops.input import Input

__all__ = ["LOWERED", "METADATA_KEY", "QONNX_DOMAIN", "export_qonnx"]

#: The modules that register lowerings when they are imported.
_MODULES = (arithmetic, moving, requantise, selecting, tables, windows)
#: Where the file says what its numbers stand for outside: JSON, see `_describe_ends`.
METADATA_KEY = "bitwright"
#: The operations that have a form in QONNX.
LOWERED: tuple[type[Operation], ...] = (Input, *LOWERINGS)


def export_qonnx(graph: Graph, path: str | os.PathLike[str], *, batch: int = 1) -> Path:
    """Write the graph as a QONNX file and return its path.

    batch: samples in one execution of the file. The file's inputs and outputs are float32 tensors of shape (batch, *shape),
        axes in the graph's order, named as the graph's nodes; a value is ``integer * 2**-fraction``. The user's order of axes
        is in the metadata. Node names are the graph's, except that a node which takes several operations adds '/what' to the
        inner ones, that a Pad before a convolution or a pool goes into that node, and that a Transpose which has nothing to do
        is left out; the user's layers are in the doc_strings.
    Raises UnsupportedModel where float32 cannot hold every integer exactly, ToolNotFound without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise ToolNotFound(
            f"onnx cannot be imported ({error}); install it with: pip install 'bitwright[qonnx]'"
        ) from None
    path = Path(path)
    emitter = Emitter(graph, batch, windows.pads_in_windows(graph))
    for node in graph.nodes:
        lowering = LOWERINGS.get(type(node.operation))
        if lowering is None and not isinstance(node.operation, Input):
            classes: list[type[Operation]] = [Input, *LOWERINGS]
            known = ", ".join(sorted(cls.kind for cls in classes))
            raise UnsupportedModel(f"{node}: operation {node.operation.kind!r} has no form in QONNX here; {known} have")
        emitter.emit(node, lowering)
    model = emitter.model(METADATA_KEY, _describe_ends(graph))
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
    return path


def _describe_ends(graph: Graph) -> str:
    """JSON: for each input and output its fraction, its axes, and the free scale and offset that the file leaves out."""
    inputs = []
    for node in graph.inputs:
        operation: Any = node.operation
        entry = {
            "name": node.name,
            "fraction": operation.element.fraction,
            "scale": operation.scale,
            "offset": operation.offset,
            "axes": list(operation.axes),
        }
        inputs.append(entry)
    outputs = [
        {
            "name": output.name,
            "tensor": output.tensor,
            "fraction": graph.types[output.tensor].element.fraction,
            "scale": list(output.scale),
            "offset": list(output.offset),
            "host_function": output.host_function,
            "axes": list(output.axes),
        }
        for output in graph.outputs
    ]
    return json.dumps({"graph_digest": graph.digest, "inputs": inputs, "outputs": outputs})
