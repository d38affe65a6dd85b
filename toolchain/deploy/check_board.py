# SPDX-License-Identifier: Apache-2.0
"""The host driver against the simulated board: bytes in at the serial pin, results out, as on the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from toolchain.deploy.framing import core_interface
from toolchain.deploy.host import HostLink
from toolchain.plan import BuildPlan
from toolchain.target import Board
from toolchain.verify.board import BoardComparison, build_board_simulation, compare_board


def check_board(
    project_folder: Path,
    core_plan: BuildPlan,
    project_plan: BuildPlan,
    board: Board,
    x_integers: NDArray[Any],
    expected: NDArray[Any],
    folder: Path,
    *,
    jobs: int = 2,
) -> BoardComparison:
    """Build the simulation of a board project in `folder` and run integer vectors through the host driver and the board.

    project_folder: where `project_plan` (of `board_plan(core_plan, board, ...)`) was written. x_integers, expected: shape
    (vectors, ...), what the interpreter takes and gives. Raises BuildFailed, BoardError.
    """
    simulation = build_board_simulation(project_folder, project_plan.facts, board, folder, jobs=jobs)
    interface = core_interface(core_plan.top, core_plan.facts, core_plan.digest)
    with simulation.start() as port:
        link = HostLink(port, interface, attempts=1)

        def infer(vector: NDArray[Any]) -> tuple[NDArray[Any], int]:
            inference = link.infer(vector)
            return inference.outputs, inference.latency_cycles

        return compare_board(port, infer, x_integers, expected)
