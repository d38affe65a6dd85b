# SPDX-License-Identifier: Apache-2.0
"""The typed integer graph, its checker, its interpreter and its file format: what a model means.

Normative text: docs/semantics.md.
"""

from toolchain.ir.graph import Graph, GraphBuilder, Node, Output
from toolchain.ir.interpret import QuantisedInput, interpret, quantise_input, real_values
from toolchain.ir.operation import Operation, operations
from toolchain.ir.ops.add_bias import AddBias
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.dense import Dense
from toolchain.ir.ops.input import Input, OutOfRange
from toolchain.ir.ops.relu import Relu
from toolchain.ir.ops.requantise import Requantise
from toolchain.ir.ops.reshape import Reshape
from toolchain.ir.ops.threshold import Threshold
from toolchain.ir.rounding import Overflow, Rounding
from toolchain.ir.serialise import load_graph, save_graph
from toolchain.ir.spec import check
from toolchain.ir.types import IntegerType, TensorType

__all__ = [
    "AddBias", "ArgMax", "Dense", "Graph", "GraphBuilder", "Input", "IntegerType", "Node", "Operation", "OutOfRange",
    "Output", "Overflow", "QuantisedInput", "Relu", "Requantise", "Reshape", "Rounding", "TensorType", "Threshold",
    "check", "interpret", "load_graph", "operations", "quantise_input", "real_values", "save_graph",
]  # fmt: skip
