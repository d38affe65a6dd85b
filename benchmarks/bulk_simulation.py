# SPDX-License-Identifier: Apache-2.0
"""Rung 3: RTL simulation in bulk against the interpreter, at default folding, on all cores, comparison included.

The peer is what the field does otherwise: a cocotb test on the same RTL, compiled by the same Verilator, that feeds the same
vectors at full rate and compares the results (`peers/cocotb_stream.py`); one simulation, since cocotb runs on one core.

Memory is the peak of the process tree's resident sets, Python and the interpreter's results included.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Row, python, timed, version

VECTORS = 100_000
PEER_VECTORS = 300

_BUILD = """
import sys, time, json
from pathlib import Path
import toolchain
from toolchain.backends.base import make_plan
from toolchain.passes.append_argmax import append_argmax
from toolchain.target import Target
from toolchain.verify.simulate import build_simulation
graph = append_argmax(toolchain.load_model({model!r}).graph)
folder = Path({folder!r})
toolchain.save_graph(graph, folder / "graph.bitwright")
plan = make_plan("rtl", graph, Target())
(folder / "plan").mkdir()
plan.write(folder / "plan")
(folder / "facts.json").write_text(json.dumps(dict(plan.facts)))
started = time.perf_counter()
build_simulation(folder / "plan", plan.facts, folder / "simulation")
print(json.dumps(time.perf_counter() - started))
"""

_RUN = """
import json, time
from pathlib import Path
import toolchain
from toolchain.verify.simulate import load_simulation, verify_bulk
from toolchain.verify.vectors import random_vectors
folder = Path({folder!r})
graph = toolchain.load_graph(folder / "graph.bitwright")
facts = json.loads((folder / "facts.json").read_text())
library = load_simulation(folder / "plan", facts, folder / "simulation")
result = verify_bulk(graph, library, random_vectors(graph, {vectors}, seed=1))
assert result.mismatches == 0
print(json.dumps([result.inferences_per_second, result.cycles / result.seconds]))
"""

_COCOTB = """
import json
from pathlib import Path
import toolchain
from toolchain.build.tools import cocotb
from toolchain.verify import network_bench
from toolchain.verify.vectors import random_vectors
folder = Path({folder!r})
graph = toolchain.load_graph(folder / "graph.bitwright")
facts = json.loads((folder / "facts.json").read_text())
bench = folder / "bench"
bench.mkdir()
sources = ["../plan/" + source for source in (folder / "plan" / "files.f").read_text().split()]
cocotb.build_bench(sources, facts["top"], network_bench.PORTS, folder=bench, log=bench / "build.log")
data = network_bench.bench_data(facts, graph, random_vectors(graph, {vectors}, seed=1))
(bench / "bench.json").write_text(json.dumps(data))
outcomes = cocotb.run_bench(
    facts["top"], "cocotb_stream", folder=bench, working_folder=folder / "plan", python_path=[Path({benchmarks!r})],
    environment={{"BENCH_FOLDER": str(bench)}}, log=bench / "bench.log", timeout_s=600,
)
assert all(outcome.passed for outcome in outcomes), outcomes
print((bench / "rate.json").read_text())
"""

_INTERPRET = """
import json, time
from pathlib import Path
import toolchain
from toolchain.verify.vectors import random_vectors
graph = toolchain.load_graph(Path({folder!r}) / "graph.bitwright")
x = random_vectors(graph, {vectors}, seed=1)
started = time.perf_counter()
toolchain.interpret(graph, x)
print(json.dumps({vectors} / (time.perf_counter() - started)))
"""


def run() -> Sequence[Row]:
    own = version("bitwright")
    rows = []
    for model in ("digits", "digits_brevitas"):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).mkdir(exist_ok=True)
            options = {"model": model, "folder": folder, "vectors": VECTORS}
            seconds = json.loads(timed(python(_BUILD.format(**options))).output.splitlines()[-1])
            rows.append(
                Row(f"{model}, compile the simulation", seconds, "s", "Verilator", version("verilator"), "< 20")
            )
            simulated = timed(python(_RUN.format(**options)))
            rate, cycles = json.loads(simulated.output.splitlines()[-1])
            note = f"{VECTORS:,} vectors, {cycles / 1e6:.2f} million cycles a second"
            rows.append(Row(f"{model}, simulate and compare", rate, "inferences/s", "bitwright", own, "> 20,000", note))
            peer = {**options, "vectors": PEER_VECTORS, "benchmarks": str(Path(__file__).parent / "peers")}
            rate = json.loads(timed(python(_COCOTB.format(**peer))).output.splitlines()[-1])
            note = f"peer: same RTL and vectors, {PEER_VECTORS} of them, one core"
            rows.append(Row(f"{model}, cocotb", rate, "inferences/s", "cocotb", version("cocotb"), note=note))
            rows.append(Row(f"{model}, peak memory", simulated.peak_mib, "MiB", "bitwright", own, "< 2,048"))
            rate = json.loads(timed(python(_INTERPRET.format(**options))).output.splitlines()[-1])
            rows.append(Row(f"{model}, interpreter alone", rate, "inferences/s", "bitwright", own, note="NumPy"))
    return rows
