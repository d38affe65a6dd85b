# SPDX-License-Identifier: Apache-2.0
"""A build as data: the files a backend generated and the facts about them. Nothing is written or run here.

`toolchain.build` writes a plan and runs tools on it; because a plan has a digest, builds resume, cache and can be read
before they run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True)
class PlannedFile:
    """A file of a plan. `path` is relative, in POSIX form, and stays inside the plan's folder."""

    path: str
    content: bytes

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in self.path:
            raise AssertionError(f"planned file {self.path!r} must lie inside its folder")

    @classmethod
    def text(cls, path: str, content: str) -> PlannedFile:
        return cls(path, content.encode())


@dataclass(frozen=True)
class BuildPlan:
    """What a backend hands to the build stages.

    name: which backend and style made it, such as 'rtl-streaming'.
    top: the top module's or function's identifier.
    files: everything to be written, in the order in which tools should read the sources.
    facts: JSON-able facts later stages need (declared latency, stream widths, node identifiers).
    """

    name: str
    top: str
    files: tuple[PlannedFile, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        duplicates = {path for path in paths if paths.count(path) > 1}
        if duplicates:
            raise AssertionError(f"plan {self.name}: files planned twice: {sorted(duplicates)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of names, contents and facts."""
        state = hashlib.sha256()
        header = json.dumps([self.name, self.top, self.facts], sort_keys=True).encode()
        for part in (header, *(p for file in self.files for p in (file.path.encode(), file.content))):
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        return state.hexdigest()

    def sources(self, *suffixes: str) -> tuple[str, ...]:
        """Paths of the files that end in one of the suffixes, in order."""
        return tuple(file.path for file in self.files if file.path.endswith(suffixes))

    def write(self, folder: Path) -> None:
        """Write every file below `folder`, which the caller has made for this purpose."""
        for file in self.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
