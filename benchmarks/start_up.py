# SPDX-License-Identifier: Apache-2.0
"""Time until the command answers, and from a trained model to the integer graph once the framework is imported."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence

from benchmarks.common import Row, beside_python, bitwright, median_seconds, python, timed, version

_GRAPH = """
import json, sys, time
import toolchain
toolchain.load_model({model!r})            # imports the framework, traces what it traces once
seconds = []
for _ in range(7):
    started = time.perf_counter()
    toolchain.load_model({model!r})
    seconds.append(time.perf_counter() - started)
print(json.dumps(sorted(seconds)[3]))
"""

# The same trained file to hls4ml's own graph, without writing a project. Keras 3 must not be taken for tf-keras.
_HLS4ML = """
import contextlib, io, json, os, sys, time
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tf_keras
sys.modules["keras"] = tf_keras
from qkeras.utils import load_qmodel
import hls4ml
model = load_qmodel("models/digits/model.h5", compile=False)
seconds = []
for _ in range(3):
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
        hls4ml.converters.convert_from_keras_model(model, hls_config=config, backend="Vitis", output_dir="build/bench-hls4ml")
        seconds.append(time.perf_counter() - started)
print(json.dumps(sorted(seconds)[1]))
"""


def run() -> Sequence[Row]:
    own, peer = version("bitwright"), version("hls4ml")
    rows = [
        Row(
            "python -c pass",
            median_seconds(python("pass"), 11),
            "s",
            "python",
            platform.python_version(),
            note="baseline",
        ),
        Row("bitwright --help", median_seconds(bitwright("--help"), 11), "s", "bitwright", own, "< 0.3"),
        Row("bitwright build --help", median_seconds(bitwright("build", "--help"), 11), "s", "bitwright", own, "< 0.3"),
        Row("hls4ml --help", median_seconds([beside_python("hls4ml"), "--help"], 3), "s", "hls4ml", peer, note="peer"),
    ]
    for model in ("digits", "digits_brevitas"):
        seconds = json.loads(timed(python(_GRAPH.format(model=model))).output.splitlines()[-1])
        rows.append(Row(f"{model} to integer graph", seconds, "s", "bitwright", own, "< 1", "after imports"))
    seconds = json.loads(timed(python(_HLS4ML)).output.splitlines()[-1])
    rows.append(Row("digits to hls4ml's graph", seconds, "s", "hls4ml", peer, note="peer, after imports"))
    return rows
