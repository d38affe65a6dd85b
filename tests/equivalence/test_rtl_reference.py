# SPDX-License-Identifier: Apache-2.0
"""Published networks as streaming RTL: on their real data, every integer is the interpreter's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.rtl_bundle import Bundle, Member
from tests.equivalence.test_reference_qonnx import data
from tests.reference_models import reference_model
from toolchain.build.tools import verilator
from toolchain.frontends import load_model
from toolchain.ir import interpret, quantise_input

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")


@pytest.mark.full
def test_keywords_and_digits(tmp_path: Path) -> None:
    keywords = load_model(reference_model("qonnx_kws_w3a3_mlperf") / "QONNX_model.onnx").graph
    digits = load_model(reference_model("qonnx_tfc_w2a2") / "TFC_2W2A.onnx").graph
    sounds, images = data("kws_mfcc_int8.npz"), data("mnist.npz")
    with np.load(reference_model("qonnx_kws_w3a3_mlperf") / "ref_kws1000.npz") as stored:
        scale = stored["input_scale"]
    inputs = {
        keywords.name: np.concatenate([sounds["x_train"], sounds["x_test"]]).astype(np.float32) * scale,
        digits.name: (images["x_test"][:1000, None] / np.float32(255)).astype(np.float32),
    }
    published = np.concatenate([sounds["finn_pred_train"], sounds["finn_pred_test"]])
    bundle = Bundle([Member(graph.name, graph) for graph in (keywords, digits)], tmp_path)
    for graph in (keywords, digits):
        x = quantise_input(graph.inputs[0], inputs[graph.name]).integers
        found, _ = bundle.run(graph.name, x)
        (expected,) = interpret(graph, x).values()
        assert (found == expected).all()
        bundle.check_timing(graph.name, x[:8])
        if graph is keywords:
            # Two samples have two equal largest integers, of which the published class is the other one.
            assert (found.reshape(1000, -1).argmax(axis=1) == published).sum() == 998
            largest = found.reshape(1000, -1).max(axis=1)
            assert (found.reshape(1000, -1)[np.arange(1000), published] == largest).all()
