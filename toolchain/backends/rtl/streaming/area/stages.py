# SPDX-License-Identifier: Apache-2.0
"""What a stage takes at a folding, before a network is laid out: quick enough to compare every folding of every stage.

Memories of large layers count as if their content had no structure, FIFOs before stages as if they held a vector or 16 beats,
whichever is less, line buffers and FIFOs behind forks at the least depth that works; the layout's own estimate knows all of these.
"""

from __future__ import annotations

from functools import lru_cache

from toolchain.backends.rtl.streaming.area import Area, bill_of, instance_area, parameters_of, price
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters
from toolchain.backends.rtl.streaming.area.queues import converter, stream_fifo, stream_fork
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.backends.rtl.streaming.kernels._windows import parallel_window_instances, window_instances
from toolchain.backends.rtl.streaming.network import Library
from toolchain.ir import IntegerType
from toolchain.ir.products import WeightedSums
from toolchain.passes.folding_model import StageFolding, is_matrix, matrix_shape, slides
from toolchain.passes.group_stages import Stage
from toolchain.target import DspBlocks

#: Weights up to which the content of a layer's memory is looked at for every folding.
_KNOWN_WEIGHTS = 1 << 13
_GUESSED_BEATS = 16


class StageAreas:
    """Areas on a family, where products use DSP blocks so; each is computed once."""

    def __init__(self, family: str, blocks: DspBlocks) -> None:
        self._family = family
        self._blocks = blocks
        self._stages: dict[tuple[str, StageFolding], Area] = {}
        self._converters: dict[tuple[int, int, int], Area] = {}
        self._windows: dict[tuple[str, int], tuple[Instance, ...]] = {}
        self._library = Library(blocks)

    def stage(self, stage: Stage, option: StageFolding) -> Area:
        """The stage's instances, and the FIFO before it if it wants one."""
        key = (stage.name, option)
        if key not in self._stages:
            self._stages[key] = self._stage(stage, option)
        return self._stages[key]

    def converter(self, element: IntegerType, found: int, wanted: int) -> Area:
        """Between beats of different widths; nothing where they are equal."""
        if found == wanted:
            return Area()
        key = (element.width, found, wanted)
        if key not in self._converters:
            self._converters[key] = price(converter(*key), self._family)
        return self._converters[key]

    def fork(self, element: IntegerType, lanes: int) -> Area:
        """A fork; the FIFOs behind it may not be needed."""
        return price(stream_fork(lanes * element.width), self._family)

    def _stage(self, stage: Stage, option: StageFolding) -> Area:
        total = Area()
        operation = stage.operation
        if is_matrix(stage) and isinstance(operation, WeightedSums) and operation.weights.size > _KNOWN_WEIGHTS:
            key = (stage.name, option.simd)
            if key not in self._windows:
                self._windows[key] = windows_before(stage, option.simd)
            for instance in self._windows[key]:
                total += instance_area(instance, self._family)
                total += self.converter(stage.input_type.element, instance.output_lanes, option.simd)
            values = matrix_parameters(stage, option, self._blocks)
            total += price(bill_of("matrix_vector_unit", Parameters(values, {}, self._family)), self._family)
        else:
            found: Instance | None = None
            for instance in self._library.instances(stage, option, "stage"):
                if found is not None:
                    total += self.converter(found.output_element, found.output_lanes, instance.input_lanes)
                total += instance_area(instance, self._family)
                found = instance
        if self._library.why_fifo(stage, option):
            total += self._fifos(stage, option)
        return total

    def _fifos(self, stage: Stage, option: StageFolding) -> Area:
        bill = Bill()
        for tensor in stage.input_types:
            depth = max(2, min(_GUESSED_BEATS, tensor.channels // option.simd))
            bill.add(stream_fifo(option.simd * tensor.element.width, depth, self._family))
        return price(bill, self._family)


def windows_before(stage: Stage, simd: int) -> tuple[Instance, ...]:
    """What stands before the matrix of a convolution; nothing before that of a dense layer."""
    if not slides(stage):
        return ()
    return parallel_window_instances(stage) if simd > stage.input_type.channels else window_instances(stage, simd)


def matrix_parameters(stage: Stage, option: StageFolding, blocks: DspBlocks) -> dict[str, int]:
    """The parameters of a stage's matrix_vector_unit for such DSP blocks, without making the memories' words."""
    inputs, outputs = matrix_shape(stage)
    return {
        "INPUT_SIZE": inputs,
        "OUTPUT_SIZE": outputs,
        "SIMD": option.simd,
        "PE": option.pe,
        "INPUT_WIDTH": stage.input_type.element.width,
        "INPUT_SIGNED": int(stage.input_type.element.signed),
        "ACCUMULATOR_WIDTH": stage.output_type.element.width,
        "HAS_BIAS": int(stage.bias is not None),
        **_fixed_parameters(stage, blocks),
    }


@lru_cache(maxsize=256)
def _fixed_parameters(stage: Stage, blocks: DspBlocks) -> dict[str, int]:
    """Those that do not depend on the folding, from one row."""
    row = kernels()[type(stage.operation)].instances(stage, StageFolding(1, 1), "stage")[-1]
    values = parameters_of(row.with_dsp_blocks(blocks), "").values
    names = ("WEIGHT_WIDTH", "WEIGHT_KIND", "PRODUCT_SHIFT", "BIAS_WIDTH", "DSP_WIDTH", "MULTIPLIER_STYLE")
    return {name: values[name] for name in names if name in values}
