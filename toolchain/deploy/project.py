# SPDX-License-Identifier: Apache-2.0
"""A streaming core on a board: the project's files, its synthesis, place and route, and the bitstream.

The core is synthesised once, by itself. Its netlist is what rung 5 simulates, and what is placed: the board's part is
synthesised around it, and for another clock only that part is made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from toolchain.backends.rtl.streaming.load_map import AXI_LITE_PORTS
from toolchain.build.tools import ecppack, nextpnr, yosys
from toolchain.build.tools.ecppack import Bitstream
from toolchain.build.tools.nextpnr import Routing
from toolchain.build.tools.yosys import Synthesis
from toolchain.build.tools.yowasp import first_call_note
from toolchain.data_folders import BOARDS
from toolchain.deploy.framing import CoreInterface, core_interface
from toolchain.deploy.pll_ecp5 import PllSetting, find_pll
from toolchain.errors import BoardError
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Board, Device

#: Folder of the board's files inside a project; the core's files keep the paths that its plan gave them.
BOARD_FOLDER = "board"
#: Silence inside a request after which the board gives it up: longer than the gaps a busy host leaves between USB packets.
IDLE_TIMEOUT_S = 0.05
#: The longest inference that the board waits for.
RUN_TIMEOUT_S = 1.0
#: A receiver samples 9.5 bit times after the edge it starts from; with both ends off by this, it is 0.38 of a bit off.
LARGEST_BAUD_ERROR = Fraction(2, 100)
SMALLEST_CLOCKS_PER_BIT = 8
#: A repeated place and route is asked for this share of what the one before reached: results of the same design scatter by some
#: per cent, and a clock just below the last result would be missed as often as met.
RETRY_MARGIN = 0.95
#: How often place and route is repeated with a slower clock.
LARGEST_NUMBER_OF_TRIES = 6


@dataclass(frozen=True)
class BoardClock:
    """The core's clock and the serial line's bit time that follows from it. baud: what the host has to set."""

    pll: PllSetting
    baud: int
    clocks_per_bit: int

    @property
    def core_mhz(self) -> float:
        return float(self.pll.core_mhz)

    @property
    def baud_error(self) -> Fraction:
        """(rate on the line - baud) / baud."""
        return self.pll.core_mhz * 1_000_000 / self.clocks_per_bit / self.baud - 1


def board_clock(board: Board, clock_mhz: float) -> BoardClock:
    """The clock nearest to `clock_mhz` and not above it that the board's PLL makes, and the serial line's rate with it.

    The rate is the board's, halved until a whole number of cycles is near enough to a bit time. (From 25 cycles a bit on,
    rounding is at most 2 %, so that an end is always found.) Raises BoardError if there is no such clock.
    """
    if board.device.family != "ecp5":
        raise BoardError(f"board {board.name}: clocks are computed for ECP5 devices, not for {board.device.part}")
    pll = find_pll(board.oscillator_mhz, clock_mhz)
    baud = board.uart_baud
    while True:
        clock = BoardClock(pll, baud, max(1, round(pll.core_mhz * 1_000_000 / baud)))
        if clock.clocks_per_bit >= SMALLEST_CLOCKS_PER_BIT and abs(clock.baud_error) <= LARGEST_BAUD_ERROR:
            return clock
        baud //= 2


def board_plan(core_plan: BuildPlan, board: Board, clock_mhz: float) -> BuildPlan:
    """The whole project: the core's files, the board's logic around it, pins, and a README with the commands.

    Its facts are the core's, and under 'project' what the board adds (see `_facts`). Raises BoardError.
    """
    clock = board_clock(board, clock_mhz)
    interface = core_interface(core_plan.top, core_plan.facts, core_plan.digest)
    # The board's logic has no processor that would load constants.
    load_ports = AXI_LITE_PORTS if "loadable" in core_plan.facts else ()
    generated = {
        "design_parameters.sv": _render("design_parameters.sv.j2", _parameters(interface, board, clock)),
        "design_core.sv": _render(
            "design_core.sv.j2",
            {
                **_parameters(interface, board, clock),
                "core": core_plan.top,
                "tied_low": [name for name, _, into in load_ports if into],
                "left_open": [name for name, _, into in load_ports if not into],
            },
        ),
    }
    modules = {Path(file).stem for file in (*generated, *board.common, board.top_file, *board.vendor_models.values())}
    if core_plan.top in modules:
        raise BoardError(
            f"board {board.name}: the core's module cannot be named {core_plan.top!r}, the board's logic uses that name; "
            "rename the model"
        )
    files = [PlannedFile.text(f"{BOARD_FOLDER}/{name}", text) for name, text in generated.items()]
    for name in (*board.common, *board.vendor_models.values()):
        files.append(PlannedFile(f"{BOARD_FOLDER}/{name}", (BOARDS / "common" / name).read_bytes()))
    for name in (board.top_file, board.constraints):
        files.append(PlannedFile(f"{BOARD_FOLDER}/{name}", (board.folder / name).read_bytes()))
    facts = _facts(core_plan, board, clock, tuple(generated))
    readme = _render("project_readme.md.j2", {**facts, "board": board, "core": core_plan.top})
    files.append(PlannedFile.text("README.md", readme))
    return BuildPlan(
        name=f"{core_plan.name}-{board.name}",
        top=board.top,
        files=(*core_plan.files, *files),
        facts={**core_plan.facts, "project": facts},
    )


def _parameters(interface: CoreInterface, board: Board, clock: BoardClock) -> dict[str, Any]:
    cycles_per_second = clock.pll.core_mhz * 1_000_000
    return {
        "core_mhz": f"{clock.core_mhz:.6g}",
        "oscillator_mhz": f"{board.oscillator_mhz:g}",
        "vco_mhz": f"{float(clock.pll.vco_mhz):.6g}",
        "baud": clock.baud,
        "baud_error_percent": f"{float(clock.baud_error) * 100:.3f}",
        "clocks_per_bit": clock.clocks_per_bit,
        "input_beats": interface.input.beats,
        "input_bytes": interface.input.bytes_per_beat,
        "output_beats": interface.output.beats,
        "output_bytes": interface.output.bytes_per_beat,
        "design_id": interface.design_id,
        "idle_timeout_cycles": int(cycles_per_second * Fraction(IDLE_TIMEOUT_S)),
        "run_timeout_cycles": int(cycles_per_second * Fraction(RUN_TIMEOUT_S)),
        "reference_divider": clock.pll.reference_divider,
        "feedback_multiplier": clock.pll.feedback_multiplier,
        "output_divider": clock.pll.output_divider,
    }


def _facts(core_plan: BuildPlan, board: Board, clock: BoardClock, generated: tuple[str, ...]) -> dict[str, Any]:
    """core: module and files of the core. sources, vendor_models, constraints: the board's files, as paths in the project.
    clock_mhz, clocks_per_bit, baud, baud_error: exact up to the rounding of a float."""
    files = (*generated, *board.common, board.top_file)
    return {
        "board": board.name,
        "core": core_plan.top,
        "core_digest": core_plan.digest,
        "core_sources": list(core_plan.sources(".sv", ".v")),
        "sources": [f"{BOARD_FOLDER}/{name}" for name in files],
        "vendor_models": {module: f"{BOARD_FOLDER}/{file}" for module, file in board.vendor_models.items()},
        "constraints": f"{BOARD_FOLDER}/{board.constraints}",
        "clock_mhz": clock.core_mhz,
        "baud": clock.baud,
        "clocks_per_bit": clock.clocks_per_bit,
        "baud_error": float(clock.baud_error),
    }


def _render(template: str, values: dict[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string((BOARDS / "common" / template).read_text()).render(values)


def synthesise(core_plan: BuildPlan, folder: Path, device: Device | None = None) -> Synthesis:
    """Write the core's files into `folder` and synthesise them there; for `device` if it is known, as it is one thing to fit in
    and another to be placed. Raises BuildFailed, ToolNotFound."""
    core_plan.write(folder)
    return yosys.synthesise_ecp5_core(
        core_plan.sources(".sv", ".v"),
        core_plan.top,
        cwd=folder,
        read_options=core_plan.facts.get("synthesis_options", ()),
        available=device.resources if device else {},
    )


@dataclass(frozen=True)
class Try:
    """One place and route: the PLL's clock, and the fastest that the slowest clock net of its routing allows."""

    clock_mhz: float
    reached_mhz: float


@dataclass(frozen=True)
class BoardBuild:
    """A bitstream and the figures of the design in it.

    clock_mhz: what the PLL makes, never more than fmax_mhz. asked_mhz: what was asked for. fmax_mhz: of the routed design
    in the bitstream. core, glue: after synthesis, of the core and of the board's part. routing: of the whole design.
    tries: all, the last one is this design. project: folder of the project, relative to the stage's folder.
    """

    board: str
    asked_mhz: float
    clock: BoardClock
    core: Synthesis
    glue: Synthesis
    routing: Routing
    bitstream: Bitstream
    tries: tuple[Try, ...]
    project: str
    plan_digest: str

    @property
    def clock_mhz(self) -> float:
        return self.clock.core_mhz

    @property
    def fmax_mhz(self) -> float:
        return self.routing.slowest.reached_mhz

    @property
    def note(self) -> str:
        """What a user should be told about the clock; '' if it is the one that was asked for."""
        if len(self.tries) == 1:
            return (
                "" if self.clock_mhz == self.asked_mhz else f"the PLL's nearest clock below is {self.clock_mhz:.6g} MHz"
            )
        return (
            f"{self.asked_mhz:g} MHz asked for, the first routing reached {self.tries[0].reached_mhz:.2f} MHz: the design "
            f"runs at {self.clock_mhz:.6g} MHz (routed: {self.fmax_mhz:.2f} MHz)"
        )


def place_and_route(
    core_plan: BuildPlan,
    core: Synthesis,
    core_folder: Path,
    board: Board,
    folder: Path,
    *,
    clock_mhz: float | None = None,
    seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> BoardBuild:
    """Make the board's bitstream in `folder` (which is empty) from the core that `synthesise` made in `core_folder`.

    clock_mhz: asked for; None for the board's own. If the routing does not reach it, place and route is repeated with the
    fastest PLL clock that the routing before has reached, until the routing supports its clock.
    progress: is told what is being done. Raises BoardError if the design does not fit the device or no clock is found.
    """
    asked = board.core_clock_mhz if clock_mhz is None else clock_mhz
    _check_size(core, board)
    tries: list[Try] = []
    wanted = asked
    for number in range(1, LARGEST_NUMBER_OF_TRIES + 1):
        plan = board_plan(core_plan, board, wanted)
        clock = board_clock(board, wanted)
        work = folder / f"try_{number}"
        work.mkdir()
        glue, routing = _route(plan, core, core_folder, board, work, seed, f"{clock.core_mhz:.6g} MHz", progress)
        slowest = routing.slowest
        tries.append(Try(clock.core_mhz, slowest.reached_mhz))
        # nextpnr rounds a constraint to picoseconds: the PLL's own clock has to be reached as well.
        if slowest.reached_mhz >= max(slowest.asked_mhz, clock.core_mhz):
            progress(f"packing the bitstream {first_call_note('ecppack')}".rstrip())
            bitstream = ecppack.pack(routing.config, cwd=work)
            work.rename(folder / "project")
            return BoardBuild(
                board.name, asked, clock, core, glue, routing, bitstream, tuple(tries), "project", plan.digest
            )
        reached = clock.core_mhz * min(slowest.reached_mhz / slowest.asked_mhz, slowest.reached_mhz / clock.core_mhz)
        wanted = reached * RETRY_MARGIN
        progress(f"routing reached {slowest.reached_mhz:.2f} of {slowest.asked_mhz:.2f} MHz; trying a slower clock")
    shown = ", ".join(f"{one.clock_mhz:.6g} MHz (reached {one.reached_mhz:.2f})" for one in tries)
    raise BoardError(
        f"board {board.name}: no clock was found that the routing supports; tried {shown}. Ask for a clock well below "
        f"{tries[-1].reached_mhz:.0f} MHz, or fold the layers more"
    )


def _route(
    plan: BuildPlan,
    core: Synthesis,
    core_folder: Path,
    board: Board,
    work: Path,
    seed: int,
    clock: str,
    progress: Callable[[str], None],
) -> tuple[Synthesis, Routing]:
    project = plan.facts["project"]
    plan.write(work)
    shutil.copyfile(core_folder / core.files["rtlil"], work / core.files["rtlil"])
    progress(f"synthesising the board's part for {clock}")
    glue = yosys.synthesise_ecp5_design(
        project["sources"],
        plan.top,
        core=core.top,
        core_rtlil=core.files["rtlil"],
        vendor_models=project["vendor_models"],
        cwd=work,
    )
    progress(f"placing and routing for {clock} {first_call_note('nextpnr-ecp5')}".rstrip())
    routing = nextpnr.place_and_route(glue.files["json"], project["constraints"], board.device, cwd=work, seed=seed)
    return glue, routing


def _check_size(core: Synthesis, board: Board) -> None:
    """Refuse a core that cannot fit before minutes are spent on placing it."""
    for resource, available in board.device.resources.items():
        used = core.resources.get(resource, 0)
        if used > available:
            raise BoardError(
                f"board {board.name}: the core needs {used} {resource}, {board.device.part} has {available}. Fold the "
                "layers more (more cycles a frame), or take a larger device"
            )
