# SPDX-License-Identifier: Apache-2.0
"""Large models to the integer graph, and the interpreter's speed, beside the frameworks' own execution.

A network of CNV's shape in four sizes from both frameworks: time after imports, and the peak of the process's resident set,
frameworks included. The plot shows how both grow with the number of weights. The interpreter and the frameworks run the same
random images on all cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import RESULTS, Row, python, timed, version

WIDTHS = (16, 32, 64, 96)
FULL = 64  # the width of CNV itself
_WRITER = Path(__file__).parent / "peers" / "cnv.py"

_LOAD = """
import json, time
import toolchain
toolchain.load_model({warm!r})             # imports the framework
started = time.perf_counter()
graph = toolchain.load_model({model!r}).graph
seconds = time.perf_counter() - started
toolchain.save_graph(graph, {graph!r})
print(json.dumps([seconds, sum(node.operation.parameters for node in graph)]))
"""

_INTERPRET = """
import json, time
import toolchain
from toolchain.verify.vectors import random_vectors
graph = toolchain.load_graph({graph!r})
x = random_vectors(graph, {images}, seed=1)
toolchain.interpret(graph, x[:2])
started = time.perf_counter()
toolchain.interpret(graph, x)
print(json.dumps({images} / (time.perf_counter() - started)))
"""

_FRAMEWORK = """
import json, time
import numpy as np
import toolchain
loaded = toolchain.load_model({model!r})
x = np.random.default_rng(1).random(({images}, *loaded.graph.inputs[0].operation.sample_shape), dtype=np.float32)
loaded.run(x)
started = time.perf_counter()
loaded.run(x)
print(json.dumps({images} / (time.perf_counter() - started)))
"""

_TFC = """
import numpy as np
import toolchain
from toolchain.ir import ArgMax, Dense, GraphBuilder, Input, IntegerType, Threshold
random = np.random.default_rng(1)
builder = toolchain.ir.GraphBuilder("tfc_w2a2")
tensor, size = builder.add(Input((784,), IntegerType(True, 2, 0, -1, 1)), name="x"), 784
for number, outputs in enumerate((64, 64, 64, 10)):
    tensor = builder.add(Dense(random.integers(-1, 2, (size, outputs))), tensor, name=f"dense_{{number}}")
    if outputs != 10:
        table = np.sort(random.integers(-30, 30, (outputs, 2)), axis=1)
        tensor = builder.add(Threshold(table, -1), tensor, name=f"threshold_{{number}}")
    size = outputs
builder.output(tensor)
toolchain.save_graph(builder.build(), {graph!r})
"""


def _last(code: str) -> tuple[object, float]:
    """(what the program printed last, peak memory in MiB)."""
    result = timed(python(code))
    return json.loads(result.output.splitlines()[-1]), result.peak_mib


def run() -> Sequence[Row]:
    own = version("bitwright")
    rows: list[Row] = []
    growth: dict[str, list[tuple[int, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for framework, suffix, label in (("brevitas", ".onnx", "Brevitas"), ("qkeras", ".h5", "QKeras")):
            files = {}
            for width in WIDTHS:
                files[width] = f"{folder}/{framework}_{width}{suffix}"
                timed([sys.executable, str(_WRITER), framework, str(width), files[width]])
            for width in WIDTHS:
                graph = f"{folder}/{framework}_{width}.bitwright"
                (seconds, weights), peak = _last(  # type: ignore[misc]
                    _LOAD.format(model=files[width], graph=graph, warm=files[WIDTHS[0]])
                )
                growth.setdefault(label, []).append((weights, seconds, peak))
                name = f"{label}, CNV's shape, {weights / 1e6:.2f} million constants"
                targets = ("< 20", "< 3,072") if width == FULL else ("", "")
                rows.append(Row(f"{name}, to the graph", seconds, "s", "bitwright", own, targets[0], "after imports"))
                rows.append(
                    Row(f"{name}, peak memory", peak, "MiB", "bitwright", own, targets[1], "frameworks included")
                )
            graph, images = f"{folder}/{framework}_{FULL}.bitwright", 200
            rate, _ = _last(_INTERPRET.format(graph=graph, images=images))
            rows.append(Row(f"{label}, CNV, interpreter", rate, "inferences/s", "bitwright", own, "> 20"))  # type: ignore[arg-type]
            rate, _ = _last(_FRAMEWORK.format(model=files[FULL], images=images))
            peer = "qonnx" if framework == "brevitas" else "qkeras"
            rows.append(Row(f"{label}, CNV, {peer}", rate, "inferences/s", peer, version(peer), note="peer"))  # type: ignore[arg-type]
        graph = f"{folder}/tfc.bitwright"
        timed(python(_TFC.format(graph=graph)))
        rate, _ = _last(_INTERPRET.format(graph=graph, images=20_000))
        rows.append(Row("TFC W2A2's shape, interpreter", rate, "inferences/s", "bitwright", own, "> 1,000"))  # type: ignore[arg-type]
    _plot(growth)
    return rows


def _plot(growth: dict[str, list[tuple[int, float, float]]]) -> None:
    """results/frontends.svg: time and memory over the number of constants, both axes logarithmic, with a line of slope 1."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "frontends"
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for label, points in growth.items():
        weights, seconds, memory = zip(*points, strict=True)
        left.loglog(weights, seconds, "o-", label=label)
        right.semilogx(weights, memory, "o-", label=label)
    first = next(iter(growth.values()))
    ends = [first[0][0], first[-1][0]]
    left.loglog(ends, [first[0][1] * end / ends[0] for end in ends], "k:", label="linear growth")
    left.set(xlabel="weights and thresholds", ylabel="model to graph (s)")
    right.set(xlabel="weights and thresholds", ylabel="peak memory (MiB)", ylim=(0, None))
    left.legend()
    figure.savefig(RESULTS / "frontends.svg", metadata={"Date": None})
    plt.close(figure)
