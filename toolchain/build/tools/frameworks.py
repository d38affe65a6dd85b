# SPDX-License-Identifier: Apache-2.0
"""The frameworks that models come from and processors are measured with: Python packages, imported when they are used."""

from __future__ import annotations

from toolchain.build.tool import Tool, python_package

TOOLS = [
    Tool(
        "QKeras",
        lost="no QKeras models (.h5, .keras, SavedModel)",
        install="pip install 'bitwright[qkeras]'",
        find=python_package("qkeras", "qkeras"),
    ),
    Tool(
        "TensorFlow",
        lost="no QKeras models",
        install="pip install 'bitwright[qkeras]'",
        find=python_package("tensorflow", "tensorflow"),
    ),
    Tool(
        "Brevitas",
        lost="no Brevitas objects; their QONNX files can still be read",
        install="pip install 'bitwright[brevitas]'",
        find=python_package("brevitas", "brevitas"),
    ),
    Tool(
        "QONNX",
        lost="no QONNX models are read, executed or written",
        install="pip install 'bitwright[qonnx]'",
        find=python_package("qonnx", "qonnx"),
    ),
    Tool(
        "PyTorch",
        lost="no Brevitas models; the CPU through torch and CUDA devices are not measured",
        install="pip install 'bitwright[measure]'",
        find=python_package("torch", "torch"),
    ),
    Tool(
        "ONNX Runtime",
        lost="the CPU is not measured through ONNX Runtime, its usual way to low latency; no float model is quantised",
        install="pip install 'bitwright[measure]'",
        find=python_package("onnxruntime", "onnxruntime"),
    ),
    Tool(
        "tf2onnx",
        lost="no float Keras model is quantised after its training",
        install="pip install 'bitwright[post-training]'",
        find=python_package("tf2onnx", "tf2onnx"),
        optional=True,
    ),
]
