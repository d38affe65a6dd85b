# SPDX-License-Identifier: Apache-2.0
"""Every error that a user can meet, each with the exit status the command line gives it.

A message says where (node and source layer, file, option), what was found, what is allowed and what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


class ToolchainError(Exception):
    """Base of all errors that are the input's or the environment's fault, not this code's."""

    exit_status = 1


class UsageError(ToolchainError):
    """An argument, option or configuration value that cannot be used."""

    exit_status = 2


class InputError(ToolchainError):
    """A file or array given by the user that is missing, malformed, or out of its allowed range."""

    exit_status = 2


class UnsupportedModel(ToolchainError):
    """A model that holds something that cannot be represented exactly, named with its layer."""

    exit_status = 3


class SpecViolation(ToolchainError):
    """A graph that breaks a rule of the integer graph's grammar (see docs/semantics.md)."""

    exit_status = 3


class BoardError(ToolchainError):
    """An unknown board or part, or a design that the board cannot take."""

    exit_status = 2


class ToolNotFound(ToolchainError):
    """A program or package that a stage needs and that is not installed."""

    exit_status = 4


class BuildFailed(ToolchainError):
    """A tool that ended with an error, hung, or wrote something that cannot be read.

    Carries the command, its exit status (None when it was stopped at its time limit) and its log.
    """

    exit_status = 5

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str] = (),
        status: int | None = None,
        log: Path | None = None,
        last_lines: Sequence[str] = (),
    ) -> None:
        self.command = tuple(command)
        self.status = status
        self.log = log
        self.last_lines = tuple(last_lines)
        details = [message]
        if self.command:
            details.append(f"  command: {shlex.join(self.command)}")
        if log is not None:
            details.append(f"  log: {log}")
        details.extend(f"  | {line}" for line in self.last_lines)
        super().__init__("\n".join(details))


class Mismatch(ToolchainError):
    """Two things that must be equal are not: carries the rung, vector, position, expected and found value.

    note: more lines for the message.
    """

    exit_status = 6

    def __init__(
        self,
        where: str,
        *,
        vector: int,
        index: tuple[int, ...],
        expected: int,
        found: int,
        count: int = 1,
        note: Sequence[str] = (),
    ) -> None:
        self.where, self.vector, self.index = where, vector, index
        self.expected, self.found, self.count = expected, found, count
        text = (
            f"{where}: {count} of the compared values differ from the interpreter; "
            f"first at vector {vector}, index {list(index)}: expected {expected}, found {found}"
        )
        super().__init__("\n  ".join([text, *note]))
