# SPDX-License-Identifier: Apache-2.0
"""How often hls4ml's multipliers are used for one result: from the cycles that a frame may take."""

from __future__ import annotations

from math import isqrt, prod

from toolchain.ir import Conv, Dense, Graph, Node

STRATEGIES = ("latency", "resource", "distributed_arithmetic")
#: Cycles a frame where the target names none: enough for every multiplier to be used a few times.
DEFAULT_CYCLES = 16


def reuse_factors(graph: Graph, cycles_per_frame: int | None, io_type: str) -> dict[str, int]:
    """By node, the largest reuse factor with which the layer keeps up with `cycles_per_frame`.

    A layer takes its reuse factor once for each place at which it starts: on streams for each packet that comes in, on
    parallel arrays for each position of its result.
    """
    factors = {}
    for node in graph.nodes:
        operation = node.operation
        if not isinstance(operation, Dense | Conv):
            continue
        starts = _starts(graph, node, io_type)
        most = max(1, (cycles_per_frame or DEFAULT_CYCLES * starts) // starts)
        inputs, outputs = prod(operation.weights.shape[:-1]), operation.weights.shape[-1]
        windows = isinstance(operation, Conv) or len(graph.input_types(node)[0].shape) > 1
        if windows and io_type == "io_parallel":
            most = min(most, inputs)  # with more, hls4ml's convolution of arrays is wrong (an assertion there says so)
        factors[node.name] = max(factor for factor in valid_reuse_factors(inputs, outputs) if factor <= most)
    return factors


def valid_reuse_factors(inputs: int, outputs: int) -> list[int]:
    """The factors that hls4ml's resource strategy takes for a matrix of `inputs` times `outputs`, ascending.

    A factor up to the number of inputs divides the products evenly among multipliers of which each output has a whole number;
    a larger one is a multiple of the inputs. It divides the number of products in either case.
    """
    products = inputs * outputs
    small = [factor for factor in range(1, isqrt(products) + 1) if products % factor == 0]
    divisors = sorted({*small, *(products // factor for factor in small)})
    return [
        factor
        for factor in divisors
        if (factor >= inputs and factor % inputs == 0) or (factor < inputs and products // factor % outputs == 0)
    ]


def _starts(graph: Graph, node: Node, io_type: str) -> int:
    (x,) = graph.input_types(node)
    shape = x.shape if io_type == "io_stream" else graph.types[node.name].shape
    return prod(shape[:-1])
