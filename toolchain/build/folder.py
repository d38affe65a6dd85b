# SPDX-License-Identifier: Apache-2.0
"""A build folder: stages that appear whole or not at all, a rerun that resumes, and one build at a time.

Each stage has a key, the digest of everything it depends on. Its work happens in `.partial/<stage>/`; when it has
finished, its record (key, facts, size and SHA-256 of every file) is written there and the folder is renamed to
`<stage>/`. A stage whose record fits its key and whose files are unchanged is not run again. What a failed or killed
stage left stays in `.partial/` for reading and is never used; where the disk was full it is removed, for its room.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, UsageError

_RECORD = "stage.json"
_IDENTITY = "build.json"
_FORMAT = 1
#: What the system answers where there is no room: a full disk, a quota, a limit on the size of files.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What it answers where nothing may be written.
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where its files are, its facts, how long the work took, and whether that work was done earlier."""

    name: str
    folder: Path
    facts: dict[str, Any]
    seconds: float
    cached: bool
    key: str


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def source_digest(*folders: str) -> str:
    """SHA-256 (hex) of this project's own source files below the named folders of the package ('' for all of it)."""
    root = Path(__file__).parent.parent
    state = hashlib.sha256()
    for folder in folders:
        start = root / folder
        files = [start] if start.is_file() else sorted(p for p in start.rglob("*") if p.is_file())
        for path in files:
            if "__pycache__" not in path.parts and path.suffix != ".pyc":
                state.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\n".encode())
    return state.hexdigest()


@cache
def package_versions(*distributions: str) -> dict[str, str]:
    """Versions of installed distributions, for keys; 'none' for one that is missing."""

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "none"

    return {name: version(name) for name in distributions}


class BuildFolder:
    """An output folder that belongs to one model."""

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self.model = model

    @contextmanager
    def open(self) -> Iterator[BuildFolder]:
        """Make or enter the folder and hold its lock.

        Raises UsageError if another build runs in it or it belongs to another model, InputError if it cannot be written.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"output {self.path} is not a folder; give --out another name") from None
        except OSError as error:
            raise InputError(
                f"output folder {self.path} cannot be made: {error.strerror}; {_remedy(error)}"
            ) from None
        lock = FileLock(self.path / ".lock")
        try:
            self._check_owner()
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another build is running in {self.path}; wait for it to end, or give --out another folder"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            try:
                self._write_json(self.path / _IDENTITY, {"format": _FORMAT, "model": self.model})
            except OSError as error:
                raise self._unwritable(error) from None
            try:
                yield self
            except OSError as error:
                # What is written beside the stages, such as the report.
                if error.errno not in (*_NO_ROOM, *_FORBIDDEN) or not self._holds(error):
                    raise
                raise self._unwritable(error) from None
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"output folder {self.path} cannot be written: {error.strerror}; {_remedy(error)}")

    def _holds(self, error: OSError) -> bool:
        """Whether an error is of this folder: of a file in it, or of a file without a name on a disk without room."""
        if error.filename is None:
            return error.errno in _NO_ROOM
        return self.path.absolute() in Path(os.fsdecode(error.filename)).absolute().parents

    def _check_owner(self) -> None:
        identity = self.path / _IDENTITY
        if identity.exists():
            try:
                found = json.loads(identity.read_text()).get("model")
            except (ValueError, AttributeError):
                found = None
            # A folder in which no stage has finished holds nothing of the other model.
            if found != self.model and any(self.path.glob(f"*/{_RECORD}")):
                raise UsageError(
                    f"output folder {self.path} holds the build of model {found!r}, not of {self.model!r}; "
                    "give --out another folder, or remove this one first"
                )
        # A build that was killed in its first moments may have left its lock and the beginning of the identity.
        elif any(
            entry.name != ".lock" and not entry.name.startswith(f".{_IDENTITY}.") for entry in self.path.iterdir()
        ):
            raise UsageError(
                f"output folder {self.path} is not empty and was not made by bitwright; give --out a new folder"
            )

    def stage(
        self,
        name: str,
        key: Mapping[str, Any],
        work: Callable[[Path], dict[str, Any]],
        *,
        keep: Callable[[Path], bool] | None = None,
    ) -> StageResult:
        """Return the stage's result, from an earlier run if its key and files are unchanged, else by running `work`.

        key: everything that the result depends on (digests, options, versions).
        work: fills the empty folder it is given and returns JSON-able facts.
        keep: says which files (relative paths) stay; the rest, such as object files, is deleted after the work.
        """
        digest = digest_of([_FORMAT, name, key])
        folder = self.path / name
        earlier = self._load(name, folder, digest)
        if earlier is not None:
            return earlier
        partial = self.path / ".partial" / name
        shutil.rmtree(partial, ignore_errors=True)
        started = time.monotonic()
        try:
            partial.mkdir(parents=True)
            facts = work(partial)
            seconds = time.monotonic() - started
            if keep is not None:
                _prune(partial, keep)
            record = {"key": digest, "facts": facts, "seconds": seconds, "files": _manifest(partial)}
            self._write_json(partial / _RECORD, record)
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
        except OSError as error:
            if error.errno in _NO_ROOM:
                shutil.rmtree(partial, ignore_errors=True)
            if error.errno in (*_NO_ROOM, *_FORBIDDEN):
                raise InputError(
                    f"stage {name} in {self.path}: {error.strerror}; nothing of it was kept; {_remedy(error)}"
                ) from None
            raise
        return StageResult(name, folder, json.loads(json.dumps(facts)), seconds, False, digest)

    def _load(self, name: str, folder: Path, digest: str) -> StageResult | None:
        try:
            record = json.loads((folder / _RECORD).read_text())
            if record["key"] != digest or record["files"] != _manifest(folder):
                return None
            return StageResult(name, folder, record["facts"], float(record["seconds"]), True, digest)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_json(self, path: Path, value: Any) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("w") as stream:
                json.dump(value, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def _remedy(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "make room on the disk, or give --out a folder on another one"
    return "give --out a folder that can be written"


def _manifest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / _RECORD)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if "__pycache__" not in path.parts}


def _prune(folder: Path, keep: Callable[[Path], bool]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not keep(path.relative_to(folder)):
            path.unlink()
