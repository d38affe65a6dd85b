# SPDX-License-Identifier: Apache-2.0
"""The typed integer graph, its checker, its interpreter and its file format: what a model means.

Normative text: docs/semantics.md.
"""

from toolchain.ir.graph import Graph, GraphBuilder, Node, Output
from toolchain.ir.interpret import (
    QuantisedInput,
    graph_order,
    host_order,
    interpret,
    quantise_input,
    real_inputs,
    real_values,
)
from toolchain.ir.operation import Operation, operations
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.add_bias import AddBias
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.concatenate import Concatenate
from toolchain.ir.ops.constant_tensor import Constant
from toolchain.ir.ops.conv import Conv
from toolchain.ir.ops.dense import Dense
from toolchain.ir.ops.input import Input, OutOfRange
from toolchain.ir.ops.insert_zeros import InsertZeros
from toolchain.ir.ops.lookup import Lookup
from toolchain.ir.ops.max_pool import MaxPool
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.pad import Pad
from toolchain.ir.ops.relu import Relu
from toolchain.ir.ops.requantise import Requantise
from toolchain.ir.ops.reshape import Reshape
from toolchain.ir.ops.scale import Scale
from toolchain.ir.ops.slice import Slice
from toolchain.ir.ops.sum_pool import SumPool
from toolchain.ir.ops.threshold import Threshold
from toolchain.ir.ops.top_k import TopK
from toolchain.ir.ops.transpose import Transpose
from toolchain.ir.ops.upsample import Upsample
from toolchain.ir.rounding import Overflow, Rounding
from toolchain.ir.serialise import load_graph, save_graph
from toolchain.ir.spec import check
from toolchain.ir.types import IntegerType, TensorType

__all__ = [
    "Add", "AddBias", "ArgMax", "Concatenate", "Constant", "Conv", "Dense", "Graph", "GraphBuilder", "Input", "InsertZeros",
    "IntegerType", "Lookup", "MaxPool", "Multiply", "Node", "Operation", "OutOfRange", "Output", "Overflow", "Pad",
    "QuantisedInput", "Relu", "Requantise", "Reshape", "Rounding", "Scale", "Slice", "SumPool", "TensorType", "Threshold",
    "TopK", "Transpose", "Upsample", "check", "graph_order", "host_order", "interpret", "load_graph", "operations",
    "quantise_input", "real_inputs", "real_values", "save_graph",
]  # fmt: skip
