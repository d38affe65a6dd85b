# SPDX-License-Identifier: Apache-2.0
"""Resource models without tools: the mapper's rules as Yosys showed them, what content changes, and that more is never less."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.area.instances import samples
from toolchain.backends.rtl.streaming import area, buffers
from toolchain.backends.rtl.streaming.area.bill import Parameters, integer
from toolchain.backends.rtl.streaming.area.memories import (
    block_rams,
    columns_luts,
    constant_memory,
    function_luts,
    random_access,
)
from toolchain.backends.rtl.streaming.area.stages import StageAreas, matrix_parameters
from toolchain.backends.rtl.streaming.instance import MemoryFile, flag, number, wide_number
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.data_folders import RTL_LIBRARY
from toolchain.ir import AddBias, Conv, Dense, Graph, GraphBuilder, Input, IntegerType, Operation
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.folding_model import options
from toolchain.passes.group_stages import Stage, group_stages
from toolchain.target import DspBlocks


def stage_of(shape: tuple[int, ...], element: IntegerType, *operations: Operation) -> Stage:
    builder = GraphBuilder("one")
    tensor = builder.add(Input(shape, element), name="x")
    for number_, operation in enumerate(operations):
        tensor = builder.add(operation, tensor, name=f"n{number_}")
    builder.output(tensor)
    (stage,) = group_stages(_checked(builder))
    return stage


def _checked(builder: GraphBuilder) -> Graph:
    return builder.build()


@pytest.mark.parametrize("family", area.FAMILIES)
def test_every_sample_has_a_model(family: str) -> None:
    """No module of the library that a network instances is without one, and no count is negative or of no size at all."""
    modules = set()
    for sample in samples(seed=3, count=2):
        found = area.instance_area(sample.instance, family)
        modules.add(sample.instance.module)
        assert found.lut > 0
        assert found.ff > 0
        assert min(found.dsp, found.block_ram) >= 0
    streams = {path.stem for path in RTL_LIBRARY.glob("*.sv") if "s_axis" in path.read_text()}
    inner = {"stream_narrow", "stream_widen", "result_queue"}
    assert modules == streams - inner


def test_a_module_without_a_model_is_an_error() -> None:
    with pytest.raises(KeyError, match="border_counter"):
        area.bill_of("border_counter", area.parameters_of(buffers.fork(IntegerType(False, 4), 1, 1), "ecp5"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (number(7), 7), (number(-3), -3), (flag(True), 1), (flag(False), 0), (wide_number(-128), -128), (wide_number(99), 99),
        ('"memory/a.hex"', None),
    ],
)  # fmt: skip
def test_expressions_of_parameters(text: str, value: int | None) -> None:
    assert integer(text) == value


# What Yosys 0.70 made of constant_memory with random content: (words, bits of a word) -> block RAMs.
@pytest.mark.parametrize(
    ("family", "depth", "width", "blocks"),
    [
        ("ecp5", 64, 4000, 0), ("ecp5", 65, 40, 0), ("ecp5", 100, 40, 0), ("ecp5", 128, 20, 1), ("ecp5", 128, 40, 2),
        ("ecp5", 256, 8, 0), ("ecp5", 400, 8, 1), ("ecp5", 784, 3, 1), ("ecp5", 784, 20, 2), ("ecp5", 1024, 40, 3),
        ("ecp5", 2048, 1, 0), ("ecp5", 2048, 20, 3), ("ecp5", 4608, 7, 2), ("ecp5", 9216, 10, 5),
        ("xc7", 400, 20, 0), ("xc7", 512, 20, 1), ("xc7", 784, 20, 0), ("xc7", 784, 40, 3), ("xc7", 1024, 8, 0),
        ("xc7", 2048, 3, 0), ("xc7", 2048, 8, 1),
    ],
)  # fmt: skip
def test_read_only_memories(family: str, depth: int, width: int, blocks: int) -> None:
    bill = constant_memory(depth, width, family, None)
    assert bill.block_ram == blocks
    assert ("memory.rom" in bill.lut or "memory.counted_rom" in bill.lut) == (blocks == 0)


# The same of stream_fifo: (rows of the memory, bits of a beat) -> block RAMs.
@pytest.mark.parametrize(
    ("family", "rows", "width", "blocks"),
    [
        ("ecp5", 16, 40, 0), ("ecp5", 64, 40, 0), ("ecp5", 128, 8, 0), ("ecp5", 128, 20, 1), ("ecp5", 128, 40, 2),
        ("ecp5", 256, 4, 0), ("ecp5", 256, 8, 1), ("ecp5", 512, 1, 1), ("ecp5", 2048, 20, 3), ("ecp5", 88, 16, 1),
        ("ecp5", 68, 16, 0), ("ecp5", 164, 6, 0), ("ecp5", 36, 64, 2),
    ],
)  # fmt: skip
def test_memories_that_are_written(family: str, rows: int, width: int, blocks: int) -> None:
    assert random_access(rows, width, family).block_ram == blocks


# What Yosys 0.70 made of lookup on ECP5: (channels, lanes, tables, entries, bits of an entry) -> block RAMs.
@pytest.mark.parametrize(
    ("channels", "lanes_", "rows", "entries", "width", "blocks"),
    [(4, 2, 4, 128, 6, 2), (4, 2, 4, 64, 6, 0), (8, 8, 1, 128, 7, 0), (8, 1, 8, 32, 4, 0)],
)
def test_lookup_tables(channels: int, lanes_: int, rows: int, entries: int, width: int, blocks: int) -> None:
    values = {
        "CHANNELS": channels,
        "PE": lanes_,
        "ROWS": rows,
        "ENTRIES": entries,
        "INPUT_WIDTH": 7,
        "OUTPUT_WIDTH": width,
    }
    assert area.bill_of("lookup", Parameters(values, {}, "ecp5")).block_ram == blocks


@pytest.mark.parametrize("family", area.FAMILIES)
def test_constants_that_can_be_replaced_are_memories_that_are_written(family: str) -> None:
    constant = MemoryFile("memory/a.hex", 40, (5,) * 256)
    assert constant_memory(256, 40, family, constant, loadable=True).block_ram == 2
    # What Yosys 0.70 made of 48 words of 64 bits, and of 32 words of 128 bits.
    assert constant_memory(48, 64, family, None, loadable=True).block_ram == (2 if family == "ecp5" else 0)
    short = constant_memory(32, 128, family, None, loadable=True)
    assert short.block_ram == 0
    assert short.lut["memory.lut_ram"] > 0
    single = constant_memory(1, 72, family, None, loadable=True)
    assert single.ff["memory.flip_flops"] == 72


def test_words_beyond_a_block_lie_beside_the_others() -> None:
    assert block_rams(512, 36) == 1
    assert block_rams(513, 36) == 2
    assert block_rams(16384, 1) == 1
    assert block_rams(9 * 512, 8) == 2  # nine banks of 8 bits in two blocks of 36 bits


def test_columns_of_a_read_only_memory() -> None:
    address = np.arange(16)
    parity = np.array([bin(a).count("1") & 1 for a in address])
    zero, one_bit, two_bits = np.zeros(16, int), address >> 2 & 1, (address >> 2 & 1) ^ (address & 1)
    assert columns_luts(np.stack([zero], axis=1), "ecp5") == 0
    assert columns_luts(np.stack([one_bit], axis=1), "ecp5") == 0
    assert columns_luts(np.stack([parity, parity, zero], axis=1), "ecp5") == 1
    assert columns_luts(np.stack([parity, 1 - parity, two_bits], axis=1), "ecp5") == 3


@pytest.mark.parametrize(("inputs", "ecp5", "xc7"), [(1, 1, 1), (4, 1, 1), (5, 2, 1), (6, 4, 1), (7, 8, 2), (8, 24, 4)])
def test_functions_of_many_inputs(inputs: int, ecp5: float, xc7: float) -> None:
    assert function_luts(inputs, "ecp5") == ecp5
    assert function_luts(inputs, "xc7") == xc7


@pytest.mark.parametrize("family", area.FAMILIES)
@pytest.mark.parametrize("depth", [2, 3, 16, 37, 64, 100, 200])
def test_known_content_never_costs_more(family: str, depth: int, random: np.random.Generator) -> None:
    words = tuple(int(word) for word in random.integers(0, 1 << 9, depth))
    unknown = constant_memory(depth, 9, family, None)
    known = constant_memory(depth, 9, family, MemoryFile("memory/a.hex", 9, words))
    constant = constant_memory(depth, 9, family, MemoryFile("memory/b.hex", 9, (5,) * depth))
    assert sum(known.lut.values()) <= sum(unknown.lut.values())
    assert sum(constant.lut.values()) == 0


@pytest.mark.parametrize("family", area.FAMILIES)
def test_deeper_fifos_take_no_less(family: str) -> None:
    element = IntegerType(False, 8)
    sizes = [area.instance_area(buffers.fifo(element, 1, 8, depth), family) for depth in (9, 17, 33, 64)]
    assert [size.lut for size in sizes] == sorted(size.lut for size in sizes)
    assert area.instance_area(buffers.fifo(element, 4, 8, 4096), family).block_ram == 8


@pytest.mark.parametrize("family", area.FAMILIES)
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_more_rows_and_columns_take_more(family: str, bits: int, random: np.random.Generator) -> None:
    weights = random.integers(-(1 << (bits - 1)) + 1, 1 << (bits - 1), (48, 32))
    areas = StageAreas(family, DspBlocks({"ecp5": 18, "xc7": 25}[family]))
    stage = stage_of((48,), IntegerType(False, 4), Dense(weights))
    for first, second in (((4, 8), (8, 8)), ((4, 8), (8, 16)), ((8, 16), (16, 16)), ((16, 16), (48, 32))):
        less, more = (areas.stage(stage, StageFolding(*fold)) for fold in (first, second))
        assert more.lut > less.lut
        assert more.dsp >= less.dsp
        assert (more.dsp > 0) == (bits > 4)


def test_dsp_blocks_that_rows_share() -> None:
    """5-bit weights times 4-bit elements: two rows in a block of 18 bits, three in one of 25."""
    stage = stage_of((8,), IntegerType(True, 4), Dense(np.full((8, 6), 15)))
    option = StageFolding(2, 6)
    assert StageAreas("ecp5", DspBlocks(18)).stage(stage, option).dsp == 2 * 3
    assert StageAreas("xc7", DspBlocks(25)).stage(stage, option).dsp == 2 * 2
    assert StageAreas("ecp5", DspBlocks(0)).stage(stage, option).dsp == 2 * 6


@pytest.mark.parametrize("size", [4, 64])
def test_converters_within_a_stage_count(size: int, random: np.random.Generator) -> None:
    """Whole windows of 9 pixels leave one instance, and the next takes 3 pixels: in layers whose words are looked at, or not."""
    weights = random.integers(-3, 4, (3, 3, size, size))
    stage = stage_of((6, 6, size), IntegerType(False, 3), Conv(weights, (1, 1), (1, 1)))
    areas = StageAreas("ecp5", DspBlocks(18))
    widths = {option.simd for option in options(stage)}
    assert 3 * size in widths
    for simd, converted in ((9 * size, False), (3 * size, True)):
        option = StageFolding(simd, 1)
        instances = kernels()[Conv].instances(stage, option, "stage")
        alone = sum(area.instance_area(instance, "ecp5").ff for instance in instances)
        between = areas.converter(stage.input_type.element, 9 * size, simd).ff
        assert (between > 0) == converted
        assert areas.stage(stage, option).ff == pytest.approx(alone + between)


STAGES = {
    "dense": lambda r: stage_of((12,), IntegerType(False, 4), Dense(r.integers(-7, 8, (12, 6)))),
    "bias": lambda r: stage_of(
        (12,), IntegerType(True, 5, 2), Dense(r.integers(-7, 8, (12, 6)), 3), AddBias(r.integers(-99, 99, 6), 1)
    ),
    "even": lambda r: stage_of((12,), IntegerType(False, 4), Dense(4 * r.integers(-7, 8, (12, 6)))),
    "signs": lambda r: stage_of((12,), IntegerType(False, 1), Dense(r.choice([-1, 1], (12, 6)))),
    "ternary": lambda r: stage_of((12,), IntegerType(False, 2), Dense(r.integers(-1, 2, (12, 6)))),
    "conv": lambda r: stage_of((6, 6, 4), IntegerType(False, 3), Conv(r.integers(-3, 4, (3, 3, 4, 6)), (1, 1), (1, 1))),
    "groups": lambda r: stage_of(
        (6, 6, 4), IntegerType(False, 3), Conv(r.integers(1, 4, (3, 3, 2, 6)), (1, 1), (1, 1), groups=2)
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_parameters_without_words_are_those_with_words(name: str, random: np.random.Generator) -> None:
    stage = STAGES[name](random)
    for option in options(stage):
        instance = kernels()[type(stage.operation)].instances(stage, option, "stage")[-1]
        made = dict(area.parameters_of(instance, "ecp5").values)
        predicted = matrix_parameters(stage, option, DspBlocks())
        assert {key: value for key, value in made.items() if key in predicted} == predicted


def test_areas_add_up() -> None:
    instances = [sample.instance for sample in samples(seed=4, count=1)]
    total = area.network_area(instances, "ecp5")
    assert total.lut == pytest.approx(sum(area.instance_area(instance, "ecp5").lut for instance in instances))
    assert total.dsp == sum(area.instance_area(instance, "ecp5").dsp for instance in instances) > 0
    assert total.counts() == {
        "LUT": round(total.lut), "FF": round(total.ff), "DSP": total.dsp, "block RAM": total.block_ram,
    }  # fmt: skip
