# SPDX-License-Identifier: Apache-2.0
"""A network of CNV's shape as streaming RTL: from the graph to all files, and through Verilator.

1.5 million 2-bit weights, from Brevitas. The time of the files is that of one process, imports included; memory is the peak of
the process tree. The simulation runs random images through the network and compares every integer with the interpreter's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Row, python, timed, version

IMAGES = 100
_WRITER = Path(__file__).parent / "peers" / "cnv.py"

_LOAD = """
import toolchain
toolchain.save_graph(toolchain.load_model({model!r}).graph, {graph!r})
"""

_PLAN = """
import json, pathlib, time
import toolchain
from toolchain.backends.base import make_plan
from toolchain.target import Target
graph = toolchain.load_graph({graph!r})
plan = make_plan("rtl", graph, Target(cycles_per_frame={cycles}))
plan.write(pathlib.Path({folder!r}))
pathlib.Path({facts!r}).write_text(json.dumps(dict(plan.facts)))
print(plan.facts["initiation_interval_cycles"])
"""

_BUILD = """
import json, pathlib
from toolchain.verify.simulate import build_simulation
facts = json.loads(pathlib.Path({facts!r}).read_text())
build_simulation(pathlib.Path({folder!r}), facts, pathlib.Path({simulation!r}))
"""

_RUN = """
import json, pathlib
import toolchain
from toolchain.verify.simulate import load_simulation, verify_bulk
from toolchain.verify.vectors import random_vectors
graph = toolchain.load_graph({graph!r})
facts = json.loads(pathlib.Path({facts!r}).read_text())
library = load_simulation(pathlib.Path({folder!r}), facts, pathlib.Path({simulation!r}))
result = verify_bulk(graph, library, random_vectors(graph, {images}, seed=1))
print(json.dumps([result.mismatches, result.cycles, result.seconds]))
"""

#: Cycles a frame: at 100 MHz about 760 images a second.
_CYCLES = 131_072


def run() -> Sequence[Row]:
    own, verilator = version("bitwright"), version("verilator")
    with tempfile.TemporaryDirectory() as temporary:
        names = {
            name: f"{temporary}/{name}" for name in ("model.onnx", "graph.bitwright", "facts", "folder", "simulation")
        }
        names = {name.split(".")[0]: path for name, path in names.items()}
        fields = {**names, "images": IMAGES, "cycles": _CYCLES}
        timed([sys.executable, str(_WRITER), "brevitas", "64", names["model"]])
        timed(python(_LOAD.format(**fields)))
        planned = timed(python(_PLAN.format(**fields)))
        built = timed(python(_BUILD.format(**fields)), timeout_s=7200)
        ran = timed(python(_RUN.format(**fields)), timeout_s=7200)
    mismatches, cycles, seconds = json.loads(ran.output.splitlines()[-1])
    if mismatches:
        raise RuntimeError(f"{mismatches} of {IMAGES} images differ from the interpreter")
    name = f"CNV's shape, {int(planned.output):,} cycles a frame"
    return [
        Row(f"{name}, graph to RTL files", planned.seconds, "s", "bitwright", own, "< 30"),
        Row(f"{name}, graph to RTL files, memory", planned.peak_mib, "MiB", "bitwright", own, "< 2,048"),
        Row(f"{name}, Verilator build", built.seconds, "s", "verilator", verilator),
        Row(f"{name}, Verilator build, memory", built.peak_mib, "MiB", "verilator", verilator),
        Row(f"{name}, {IMAGES} images, all equal", seconds, "s", "verilator", verilator, note=f"{cycles:,} cycles"),
        Row(f"{name}, images, memory", ran.peak_mib, "MiB", "verilator", verilator),
    ]
