# SPDX-License-Identifier: Apache-2.0
"""From a trained QKeras file to a compiled HLS project, beside hls4ml called directly; and the memory of a CNV-shaped network.

Both start with their frameworks imported and do the same: read the file, convert it, write the Vitis project in io_parallel and
compile it for the CPU. hls4ml compiles at its own -O3, this project at -O1, which it does for rung 2; the part before the compiler has a row of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.common import Row, python, timed, version

_OWN = """
import json, shutil, time
from pathlib import Path
import toolchain
from toolchain.backends.hls4ml import plan
from toolchain.build.tools.hls4ml import compile_csim
from toolchain.target import Target
toolchain.load_model("digits")
import toolchain.backends.hls4ml.project
seconds = []
for number in range(3):
    folder = Path("build/bench-hls4ml-own")
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    graph = toolchain.load_model("digits").graph
    made = plan(graph, Target(), "io_parallel", flows=["vitis"])
    made.write(folder)
    converted = time.perf_counter() - started
    compile_csim(folder, made.facts, folder / "csim.so", log=folder / "log")
    seconds.append((time.perf_counter() - started, converted))
print(json.dumps(sorted(seconds)[1]))
"""

# Keras 3 must not be taken for tf-keras.
_DIRECT = """
import contextlib, io, json, os, shutil, sys, time
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_keras
sys.modules["keras"] = tf_keras
from qkeras.utils import load_qmodel
import hls4ml
load_qmodel("models/digits/model.h5", compile=False)
seconds = []
for number in range(3):
    shutil.rmtree("build/bench-hls4ml", ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        model = load_qmodel("models/digits/model.h5", compile=False)
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
        made = hls4ml.converters.convert_from_keras_model(
            model, hls_config=config, backend="Vitis", output_dir="build/bench-hls4ml"
        )
        made.write()
        converted = time.perf_counter() - started
        made._compile()
        seconds.append((time.perf_counter() - started, converted))
print(json.dumps(sorted(seconds)[1]))
"""

# CNV: two convolutions of 64, 128 and 256 channels each on 32x32 pixels, two pools, three dense layers; one-bit weights.
_CNV = """
import json, shutil, time
from pathlib import Path
import numpy as np
from toolchain.backends.hls4ml import plan
from toolchain.ir import Conv, Dense, GraphBuilder, Input, IntegerType, MaxPool, Reshape, Threshold
from toolchain.target import Target
random = np.random.default_rng(1)
builder = GraphBuilder("cnv")
x = builder.add(Input((32, 32, 3), IntegerType(True, 8, 7)), name="x")

def activation(x):
    reach = builder.type(x).element.maximum // 4
    steps = np.sort(random.integers(-reach, reach, (builder.type(x).channels, 3)), axis=1)
    return builder.add(Threshold(steps, -2), x, name="threshold")

def signs(*shape):
    return 2 * random.integers(0, 2, shape) - 1

for stage, channels in enumerate((64, 128, 256)):
    for _ in range(2):
        weights = signs(3, 3, builder.type(x).channels, channels)
        x = activation(builder.add(Conv(weights, (1, 1), (1, 1)), x, name="conv"))
    if stage < 2:
        x = builder.add(MaxPool((2, 2), (2, 2)), x, name="pool")
x = builder.add(Reshape((builder.type(x).size,)), x, name="flat")
for outputs in (512, 512):
    x = activation(builder.add(Dense(signs(builder.type(x).size, outputs)), x, name="dense"))
builder.output(builder.add(Dense(signs(512, 10)), x, name="logits"))
graph = builder.build()
started = time.perf_counter()
made = plan(graph, Target(), "io_stream", flows=["vitis"])
folder = Path("build/bench-hls4ml-cnv")
shutil.rmtree(folder, ignore_errors=True)
made.write(folder)
print(json.dumps(time.perf_counter() - started))
"""


def run() -> Sequence[Row]:
    own, peer = version("bitwright"), version("hls4ml")
    (own_total, own_part), (direct_total, direct_part) = (
        json.loads(timed(python(code)).output.splitlines()[-1]) for code in (_OWN, _DIRECT)
    )
    cnv = timed(python(_CNV))
    return [
        Row("digits: file to project", own_part, "s", "bitwright", own, note="median of 3"),
        Row("digits: file to project, by hls4ml", direct_part, "s", "hls4ml", peer, note="peer"),
        Row("digits: file to compiled library", own_total, "s", "bitwright", own, note="median of 3"),
        Row("digits: file to compiled library, by hls4ml", direct_total, "s", "hls4ml", peer, note="peer"),
        Row("time to compiled library, of hls4ml's", 100 * own_total / direct_total, "%", "bitwright", own, "< 120"),
        Row(
            "CNV-shaped graph to project",
            json.loads(cnv.output.splitlines()[-1]),
            "s",
            "bitwright",
            own,
            note="io_stream",
        ),
        Row("peak memory of that", cnv.peak_mib, "MiB", "bitwright", own, "< 6144"),
    ]
