# SPDX-License-Identifier: Apache-2.0
"""From the graph to the streaming RTL's plan: folding, the schedule, FIFOs and line buffers, all text, in one process.

After imports and one small network, which loads what Numba has compiled. ResNet-8 and the autoencoder have random weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.area.networks import autoencoder, residual_network
from benchmarks.common import Row, version

#: FIFO depths are to be there in seconds.
_TARGET = "< 10"


def run() -> Sequence[Row]:
    import toolchain
    from toolchain.backends.base import make_plan
    from toolchain.target import Target

    own = version("bitwright")
    make_plan("rtl", toolchain.load_model("digits").graph, Target(cycles_per_frame=64))
    rows = []
    for name, graph, cycles in (
        ("mnist_cnn", toolchain.load_model("mnist_cnn").graph, 8_000),
        ("keyword_dscnn", toolchain.load_model("keyword_dscnn").graph, 40_000),
        ("autoencoder", autoencoder(), 2_048),
        ("ResNet-8", residual_network(), 150_000),
        ("ResNet-8", residual_network(), 40_000),
    ):
        started = time.perf_counter()
        plan = make_plan("rtl", graph, Target(cycles_per_frame=cycles))
        seconds = time.perf_counter() - started
        note = f"{len(plan.facts['parts'])} parts, latency {plan.facts['latency_cycles']:,} cycles"
        rows.append(Row(f"{name} at {cycles:,} cycles a frame", seconds, "s", "bitwright", own, _TARGET, note))
    return rows
