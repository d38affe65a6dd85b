# SPDX-License-Identifier: Apache-2.0
"""Planning of HLS projects: the same bytes every time, nothing of this machine in them, and refusals in words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.hls4ml_bench import side_by_side
from toolchain.backends.base import make_plan
from toolchain.backends.hls4ml import DEFAULT_PART, FLOWS, plan
from toolchain.backends.hls4ml.flow_support import flows_that_can
from toolchain.backends.hls4ml.lower import LOWERED, Options, lower
from toolchain.backends.hls4ml.lowering import MAXIMUM_STREAM_READERS
from toolchain.backends.hls4ml.plan import IO_TYPES
from toolchain.backends.hls4ml.reuse import STRATEGIES, reuse_factors, valid_reuse_factors
from toolchain.backends.hls4ml.words import exact_in_double, fixed_word, precision, saturation_mode
from toolchain.build.tools.hls4ml import DISTRIBUTED_ARITHMETIC, Port, _from_words, _to_words
from toolchain.errors import BoardError, InputError, UnsupportedModel, UsageError
from toolchain.ir import (
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Threshold,
)
from toolchain.pipeline import request
from toolchain.pipeline.hls import plain_sums_notes
from toolchain.plan import BuildPlan
from toolchain.target import Device, Target, find_device

SIX_BITS = IntegerType(True, 6, 3)


def chain(*operations: Operation, element: IntegerType = SIX_BITS, shape: tuple[int, ...] = (3,)) -> Graph:
    builder = GraphBuilder("evil */ name")
    tensor = builder.add(Input(shape, element), name="x")
    for operation in operations:
        tensor = builder.add(operation, tensor, name=operation.kind)
    builder.output(tensor)
    return builder.build()


def network() -> Graph:
    weights = np.arange(-6, 6).reshape(3, 4)
    requantise = Requantise(IntegerType(False, 4, 2), Rounding.CEILING, Overflow.SATURATE)
    threshold = Threshold(np.array([[-4, 0, 5]]))
    return chain(
        Dense(weights, 2), AddBias(np.array([1, 2, 3, -4]), 3), Relu(), requantise, Dense(weights.T.copy()), threshold
    )


def content(made: BuildPlan, path: str) -> str:
    return next(file.content.decode() for file in made.files if file.path == path)


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "from tests.unit.test_backend_hls4ml import network\n"
        "from toolchain.backends.hls4ml import plan\n"
        "from toolchain.target import Target\n"
        "import sys\n"
        "print(plan(network(), Target()).digest)\n"
        "print([m for m in ('tensorflow', 'keras', 'torch', 'qkeras', 'onnx') if m in sys.modules])\n"
    )
    root = Path(__file__).parents[2]
    answers = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]  # fmt: skip
    assert answers[0] == answers[1] == [plan(network(), Target()).digest, "[]"]


def test_nothing_of_this_machine_is_in_a_plan(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = Path.cwd()
    made = plan(network(), Target())
    assert Path.cwd() == before
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    foreign = re.compile(rb"(?<![\w.{}/])/(?:home|root|tmp|work|usr|opt|var)/[\w]")
    allowed = {"build_prj.tcl", "ap_private.h"}
    for file in made.files:
        found = foreign.search(file.content)
        assert found is None or Path(file.path).name in allowed, f"{file.path}: {found}"
        assert str(Path.home()).encode() not in file.content or str(Path.home()) == "/"
        assert sys.prefix.encode() not in file.content


def test_a_plan_holds_both_projects_and_the_facts() -> None:
    made = plan(network(), Target(find_device("xc7z020clg400-1"), clock_mhz=160.0))
    assert (made.name, made.top) == ("hls4ml", "evil_name_top")
    assert set(made.facts) == {
        "top", "io_type", "strategy", "reuse_factors", "plain_sums", "part", "part_is_default", "clock_period_ns", "flows", "csim",
        "fewest_bits", "untraced", "inputs", "outputs", "layers",
    }  # fmt: skip
    assert made.facts["reuse_factors"] == {flow: {"dense": 1, "dense_2": 1} for flow in ("vitis", "vivado")}
    assert made.facts["flows"] == ["vitis", "vivado"]
    assert made.facts["inputs"] == [
        {"node": "x", "identifier": "node_x", "shape": [3], "signed": True, "width": 6, "fraction": 3}
    ]
    assert [layer["node"] for layer in made.facts["layers"]] == [
        "add_bias",
        "relu",
        "requantise",
        "dense_2",
        "threshold",
    ]
    for flow in ("vitis", "vivado"):
        tcl = content(made, f"{flow}/project.tcl")
        assert 'set part "xc7z020clg400-1"' in tcl
        assert "set clock_period 6.25\n" in tcl
        assert "evil */" not in "".join(file.content.decode(errors="replace") for file in made.files)
    assert "nnet::dense<" in content(made, "vitis/firmware/evil_name_top.cpp")
    assert "bitwright::elementwise<" in content(made, "vivado/firmware/evil_name_top.cpp")


@pytest.mark.parametrize("device", [None, find_device("LFE5U-85F-6BG381C")])
def test_a_target_that_hls_tools_do_not_know_gets_the_default_part(device: Device | None) -> None:
    made = plan(chain(Relu()), Target(device))
    assert (made.facts["part"], made.facts["part_is_default"]) == (DEFAULT_PART, True)


def test_a_part_cannot_break_out_of_tcl() -> None:
    with pytest.raises(BoardError) as error:
        plan(chain(Relu()), Target(Device('xc7"; exec rm', "xc7")))
    assert str(error.value) == "part 'xc7\"; exec rm' is not an ordering code: only letters, digits and '-' are allowed"


def test_an_unknown_io_type_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        plan(chain(Relu()), Target(), "io_serial")
    assert str(error.value) == "io_type 'io_serial' is not known; allowed: io_parallel, io_stream"


REFUSED = [
    (
        chain(element=IntegerType(True, 101)),
        "x (input): hls4ml takes inputs of at most 100 bits, found fixed<101,101>; narrow the input",
    ),
    (
        chain(AddBias(np.array([1, 2, (1 << 53) + 1]))),
        "add_bias (add_bias): its bias need more than 53 significant bits; HLS reads constants as double precision numbers "
        "and would round them. Use coarser constants",
    ),
    (
        chain(Requantise(IntegerType(True, 70, 60, -(1 << 65), 1 << 65), overflow=Overflow.SATURATE)),
        "requantise (requantise): a bound, an offset or a saturation interval needs more than 62 bits; narrow the result's type",
    ),
    (
        chain(Requantise(IntegerType(True, 600, 300))),
        "requantise (requantise): needs words of 600 bits with 300 fraction bits; this backend stops at 500 bits. Narrow the "
        "types around this node",
    ),
]


@pytest.mark.parametrize(("graph", "reason"), REFUSED)
def test_what_hls_cannot_express_exactly_is_refused(graph: Graph, reason: str) -> None:
    with pytest.raises(UnsupportedModel) as error:
        make_plan("hls4ml", graph, Target())
    # The RTL has no bounds on constants and intervals that are so near.
    assert (
        str(error.value)
        == f"backend 'hls4ml' cannot express this network exactly:\n  {reason}. Backends that can: rtl, finn"
    )


def test_a_stream_with_many_readers_is_copied_in_steps() -> None:
    builder = GraphBuilder("wide")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x")
    for number in range(20):
        builder.output(builder.add(Relu(), x, name=f"relu {number}"), name=f"{number}")
    lowered = lower(builder.build(), Options("io_stream"))
    readers = Counter(name for layer in lowered.layers for name in layer.inputs)
    assert [layer.identifier for layer in lowered.layers if layer.kind == "BitwrightCopy"] == [
        "node_x_more", "node_x_more_more", "node_x_more_more_more",
    ]  # fmt: skip
    assert max(readers.values()) == MAXIMUM_STREAM_READERS == 7
    assert sum(readers.values()) == 20 + 3
    assert not any(layer.partial for layer in lower(builder.build(), Options("io_parallel")).layers)


def test_types_in_the_words_of_hls() -> None:
    element = IntegerType(False, 6, 8)
    assert precision(element) == "ufixed<6,-2>"
    assert precision(element, "RND_CONV", "SAT") == "ufixed<6,-2,RND_CONV,SAT>"
    assert fixed_word(IntegerType(True, 6, -2)) == "bitwright::fixed<6, 8>"
    assert saturation_mode(IntegerType(True, 4, 0, -7, 7), Overflow.SATURATE) == "SAT_SYM"
    assert saturation_mode(IntegerType(True, 4, 0, -7, 6), Overflow.SATURATE) is None
    assert saturation_mode(IntegerType(True, 1, 0, 0, 0), Overflow.SATURATE) is None
    assert saturation_mode(IntegerType(False, 4, 0, 0, 14), Overflow.SATURATE_ZERO) is None


def test_constants_that_double_precision_holds() -> None:
    assert exact_in_double(np.array([1 << 80, -(1 << 80), 3 << 100, 0], dtype=object), 60)
    assert exact_in_double(np.array([(1 << 53) - 1]), 800)
    assert not exact_in_double(np.array([(1 << 53) + 1]), 0)
    assert not exact_in_double(np.array([1]), 1100)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [1, 7, 63, 64, 65, 128, 200])
def test_words_hold_every_integer(signed: bool, width: int) -> None:
    element = IntegerType(signed, width)
    values = [element.minimum, element.maximum, 0, element.maximum // 3, element.minimum // 3, element.maximum]
    dtype = np.int64 if element.maximum < 1 << 63 else object
    array = np.array(values, dtype=dtype).reshape(2, 3)
    port = Port("x", (3,), signed, width)
    words = _to_words(port, array)
    assert (words.dtype, words.shape) == (np.uint64, (2, 3 * -(-width // 64)))
    back = _from_words(port, words)
    assert back.tolist() == array.tolist()
    with pytest.raises(InputError, match="do not fit the port's"):
        _to_words(port, np.array([[element.maximum + 1, 0, 0]], dtype=object))


def test_what_the_command_line_offers_is_what_the_backend_has() -> None:
    assert tuple(FLOWS) == request.HLS_FLOWS
    assert request._STRATEGIES == STRATEGIES
    assert request._IO_TYPES == IO_TYPES
    for label, options in (("io_type", {"io_type": "io_serial"}), ("strategy", {"strategy": "fast"})):
        with pytest.raises(UsageError, match=f"{label} '{next(iter(options.values()))}' is not known; allowed: "):
            request._hls_flows(options.get("io_type"), options.get("strategy", "latency"), ())
    assert request._hls_flows(None, "latency", ["quartus", "vitis", "quartus"]) == ("quartus", "vitis")


def test_reuse_factors_are_those_that_hls4ml_takes() -> None:
    from hls4ml.backends import get_backend

    for inputs, outputs in ((1, 1), (4, 3), (12, 6), (9, 16), (32, 10), (7, 5)):
        assert valid_reuse_factors(inputs, outputs) == get_backend("Vivado").get_valid_reuse_factors(inputs, outputs)


def test_reuse_factors_keep_the_pace() -> None:
    builder = GraphBuilder("paced")
    x = builder.add(Input((5, 6, 2), SIX_BITS), name="x")
    conv = builder.add(Conv(np.ones((3, 3, 2, 4), int), (1, 1), (1, 1)), x, name="conv")
    flat = builder.add(Reshape((48,)), conv, name="flat")
    builder.output(builder.add(Dense(np.ones((48, 5), int)), flat, name="dense"))
    graph = builder.build()
    # A stream brings 30 packets, an array has 12 positions; hls4ml allows up to 18 uses of the window's multipliers there.
    assert reuse_factors(graph, 300, "io_stream") == {"conv": 9, "dense": 240}
    assert reuse_factors(graph, 300, "io_parallel") == {"conv": 18, "dense": 240}
    assert reuse_factors(graph, 30, "io_stream") == {"conv": 1, "dense": 24}
    assert reuse_factors(graph, 1, "io_stream") == {"conv": 1, "dense": 1}
    assert reuse_factors(graph, None, "io_stream") == {"conv": 9, "dense": 16}
    made = plan(graph, Target(cycles_per_frame=300), strategy="resource")
    assert made.facts["io_type"] == "io_stream"
    assert made.facts["reuse_factors"] == {flow: {"conv": 9, "dense": 240} for flow in ("vitis", "vivado")}
    parameters = content(made, "vitis/firmware/parameters.h")
    assert re.findall(r"reuse_factor = (\d+)", parameters) == ["9", "9", "240"]
    assert "strategy = nnet::resource" in parameters


def test_facts_tell_how_often_the_project_shares_a_multiplier() -> None:
    """Depthwise layers know no sharing, and the project's own layers none where only AMD's compilers read their pragma."""
    depthwise = Conv(np.ones((3, 3, 1, 2), np.int64), (1, 1), (1, 1), 2)
    full = Conv(np.ones((3, 3, 2, 4), np.int64), (1, 1), (1, 1))
    dilated = Conv(np.ones((2, 2, 4, 2), np.int64), (1, 1), (2, 2))
    graph = chain(depthwise, full, dilated, shape=(8, 8, 2))
    target = Target(cycles_per_frame=600)
    assert reuse_factors(graph, 600, "io_stream") == {"conv": 9, "conv_2": 9, "conv_3": 32}
    flows = ["vitis", "quartus", "catapult"]
    facts = plan(graph, target, strategy="resource", flows=flows).facts
    alone = {"conv": 1, "conv_2": 1, "conv_3": 1}
    assert facts["reuse_factors"] == {
        "vitis": {"conv": 1, "conv_2": 9, "conv_3": 32},
        "quartus": alone,
        "catapult": alone,
    }
    assert facts["plain_sums"] == {"vitis": ["conv", "conv_3"], "quartus": list(alone), "catapult": list(alone)}
    assert plain_sums_notes(facts) == [
        "Strategy resource reaches hls4ml's own dense and convolution layers only. In flow vitis it does not reach conv, conv_3; a "
        "layer of this project has a pragma of the initiation interval in its place.",
        "Strategy resource reaches hls4ml's own dense and convolution layers only. In flow quartus it does not reach conv, conv_2, "
        "conv_3.",
        "Strategy resource reaches hls4ml's own dense and convolution layers only. In flow catapult it does not reach conv, conv_2, "
        "conv_3.",
    ]
    assert plain_sums_notes(plan(graph, target, flows=flows).facts) == []


FOREIGN = [
    (
        "libero",
        {"io_type": "io_stream"},
        "flow 'libero': hls4ml's Libero backend cannot write streams; use io_parallel. Flows that can: vitis, vivado, "
        "vivado_accelerator, quartus, catapult",
    ),
    (
        "libero",
        {},
        "flow 'libero': hls4ml's Libero backend has no exact layer for these nodes, and the project's own layers have no C++ "
        "for Microchip SmartHLS. Flows that can: vitis, vivado, vivado_accelerator, quartus, catapult\n  requantise: requantise\n"
        "  threshold: threshold",
    ),
    (
        "oneapi",
        {},
        "flow 'oneapi': hls4ml's oneAPI backend has no exact layer for these nodes, and the project's own layers have no C++ "
        "for Intel oneAPI. Flows that can: vitis, vivado, vivado_accelerator, quartus, catapult\n  requantise: requantise\n"
        "  threshold: threshold",
    ),
    (
        "quartus",
        {"strategy": "distributed_arithmetic"},
        "flow 'quartus': hls4ml has distributed arithmetic for Vitis and Vivado only; use strategy latency. Flows that can: vitis, "
        "vivado",
    ),
]


@pytest.mark.parametrize(("flow", "options", "message"), FOREIGN)
def test_what_a_flow_cannot_have_is_refused(
    flow: str, options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(DISTRIBUTED_ARITHMETIC), "require", lambda self: None)
    with pytest.raises(UnsupportedModel) as error:
        plan(network(), Target(), flows=[flow], **options)  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_writes_a_plain_network(flow: str) -> None:
    requantise = Requantise(IntegerType(False, 4, 2), Rounding.HALF_EVEN, Overflow.SATURATE)
    graph = chain(Dense(np.arange(12).reshape(3, 4), 2), AddBias(np.arange(4), 3), Relu(), requantise)
    made = plan(graph, Target(), flows=[flow])
    assert made.facts["flows"] == [flow]
    assert bool(made.facts["csim"][flow]) == (flow in ("oneapi", "libero"))
    sources = [file.path for file in made.files if file.path.startswith(f"{flow}/")]
    assert any(path.endswith("_top.cpp") for path in sources)
    assert any(path.endswith((".tcl", "Makefile", "CMakeLists.txt")) for path in sources)
    default = FLOWS[flow].default_part.encode()
    assert any(default in file.content for file in made.files)


def test_a_flow_of_two_outputs_for_the_accelerator_is_refused() -> None:
    builder = GraphBuilder("two")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x")
    for number in range(2):
        builder.output(builder.add(Relu(), x, name=f"relu {number}"), name=f"{number}")
    with pytest.raises(
        UnsupportedModel, match=r"one input and one output, this one has 1 and 2\. Flows that can: vitis, vivado, quar"
    ):
        plan(builder.build(), Target(), flows=["vivado_accelerator"])
    with pytest.raises(UsageError, match="flow 'modelsim' is not known; allowed: vitis, vivado, vivado_accelerator"):
        plan(builder.build(), Target(), flows=["modelsim"])


def test_integers_that_a_c_compiler_does_not_take_are_refused() -> None:
    graph = chain(AddBias(np.array([1, 2, 1 << 70], dtype=object)))
    plan(graph, Target(), flows=["catapult"])
    with pytest.raises(UnsupportedModel) as error:
        plan(graph, Target(), flows=["quartus"])
    assert str(error.value) == (
        "flow 'quartus': hls4ml writes constants as C++ integers of 64 bits there, those of these nodes are larger. Flows that can: "
        "vitis, vivado, vivado_accelerator, catapult\n  add_bias"
    )


def test_a_flow_is_refused_before_any_project_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    import toolchain.backends.hls4ml.project as project

    monkeypatch.setattr(project, "write_project", lambda *_: pytest.fail("a project was written"))
    with pytest.raises(UnsupportedModel, match="flow 'oneapi'"):
        plan(network(), Target(), flows=["vitis", "oneapi"])


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_the_accelerator_has_the_firmware_of_vivado(io_type: str) -> None:
    """So what is found of hls4ml's own layers in flow vivado holds for it: only the wrapper around the network is added."""
    graph = chain(Conv(np.ones((2, 2, 2, 3), np.int64), (1, 1), (1, 1)), Relu(), shape=(4, 4, 2))
    made = plan(graph, Target(find_device("xc7z020clg400-1")), io_type, flows=["vivado", "vivado_accelerator"])
    firmware: dict[str, dict[str, bytes]] = {"vivado": {}, "vivado_accelerator": {}}
    for file in made.files:
        flow, _, path = file.path.partition("/firmware/")
        if path:
            firmware[flow][path] = file.content
    wrapper = {f"{made.top}_axi.cpp", f"{made.top}_axi.h"}
    assert set(firmware["vivado_accelerator"]) - set(firmware["vivado"]) == wrapper
    assert {p: c for p, c in firmware["vivado_accelerator"].items() if p not in wrapper} == firmware["vivado"]


#: What hls4ml's own layers alone express of the samples of all operations.
ALONE = {
    ("libero", "io_parallel"): {"dense", "relu", "requantise"},
    ("oneapi", "io_parallel"): {
        "add", "concatenate", "conv", "dense", "max_pool", "multiply", "pad", "relu", "requantise", "transpose", "upsample",
    },
}  # fmt: skip
ALONE["oneapi", "io_stream"] = ALONE["oneapi", "io_parallel"]


@pytest.mark.parametrize(("flow", "io_type"), ALONE)
def test_flows_without_layers_of_this_project_write_what_they_can(flow: str, io_type: str) -> None:
    cases = [case for cls in LOWERED for case in cls.samples() if case[1]]  # a graph has an input
    able = [case for case in cases if flow in flows_that_can(side_by_side([case]), io_type)]
    assert {operation.kind for operation, _ in able} == ALONE[flow, io_type]
    made = plan(side_by_side(able), Target(), io_type, flows=[flow])
    # hls4ml leaves out a layer that it has no C++ for in a flow, and says nothing.
    source = "oneapi/src" if flow == "oneapi" else flow
    calls = content(made, f"{source}/firmware/cases_top.cpp").count("nnet::")
    assert calls == len(able) if flow == "oneapi" else calls >= len(able)


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_layers_that_hls4ml_would_leave_out_are_refused(io_type: str) -> None:
    from toolchain.ir import Slice

    depthwise = Conv(np.ones((3, 3, 1, 2), np.int64), (1, 1), (1, 1), 2)
    graph = chain(Slice((1, 0, 0), (7, 8, 2), (1, 1, 1)), depthwise, shape=(8, 8, 2))
    with pytest.raises(UnsupportedModel) as error:
        plan(graph, Target(), io_type, flows=["oneapi"])
    nodes = ["slice: cropping2d", *(["conv: depthwiseconv2d"] if io_type == "io_stream" else [])]
    assert str(error.value).splitlines()[1:] == [f"  {node}" for node in nodes]
