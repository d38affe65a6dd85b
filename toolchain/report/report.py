# SPDX-License-Identifier: Apache-2.0
"""The report of a build: one record, written as JSON (the contract, see schema.json) and as one HTML page."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from toolchain.errors import InputError
from toolchain.measure.record import Measurement

SCHEMA_VERSION = 1
JSON_NAME = "report.json"
HTML_NAME = "report.html"

#: What each rung of the verification ladder compares with the interpreter.
RUNG_NAMES: dict[int, str] = {
    1: "Framework output",
    2: "HLS C++ on the CPU",
    3: "RTL in bulk",
    4: "RTL protocol and timing",
    5: "Synthesised netlist",
    6: "Placed and routed design",
    7: "Board",
}


@dataclass(frozen=True)
class Report:
    """What one build reached. Fields are those of schema.json; absent knowledge is None or empty, never a zero.

    accuracy: 0 to 1, None without labels. ladder: {rung, name, vectors, mismatches, explained_ties?, seconds}, lowest rung first.
    checks: {name, vectors, mismatches, explained_ties?, seconds}. artefacts: name -> path relative to the report's folder, or
    {path, sha256}. quantisation: of a model quantised after training, with the accuracy before and after. confusion_matrix: {labels, counts}; counts[i][j] are vectors of class i classified as j.
    graph: {name, operation, source, shape, type, accumulator?}. folding: {name, ...}. timings: stage -> seconds.
    """

    model: str
    graph_digest: str = ""
    accuracy: float | None = None
    ladder: list[dict[str, Any]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    artefacts: dict[str, Any] = field(default_factory=dict)
    confusion_matrix: dict[str, Any] | None = None
    quantisation: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    graph: list[dict[str, Any]] = field(default_factory=list)
    folding: list[dict[str, Any]] = field(default_factory=list)
    toolchain_version: str = ""
    backend: str = ""
    board: str = ""
    part: str = ""
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values in the schema's order; optional parts that are empty are left out."""
        data: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "model": self.model,
            "graph_digest": self.graph_digest,
            "accuracy": self.accuracy,
            "ladder": self.ladder,
            "measurements": [record.to_json() for record in self.measurements],
            "artefacts": self.artefacts,
        }
        optional = ("toolchain_version", "backend", "board", "part", "checks", "confusion_matrix", "quantisation")
        for label in (*optional, "graph", "folding", "notes", "timings"):
            value = getattr(self, label)
            if value:
                data[label] = value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read what `to_json` wrote. Raises InputError for what schema.json does not allow."""
        validate(data)
        fields = {key: value for key, value in data.items() if key != "schema"}
        fields["measurements"] = [Measurement.from_json(record) for record in data["measurements"]]
        return cls(**fields)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
    return loaded


def validate(data: Any) -> None:
    """Raise InputError, with the place and the reason, unless `data` is a report of this schema's version."""
    from jsonschema import Draft202012Validator

    if not isinstance(data, Mapping):
        raise InputError(f"report: expected a JSON object, found {type(data).__name__}")
    found = data.get("schema")
    if found != SCHEMA_VERSION or isinstance(found, bool):
        raise InputError(
            f"report: schema version {found!r} cannot be read, this program reads version {SCHEMA_VERSION}; "
            "build again with this version"
        )
    error = next(
        iter(sorted(Draft202012Validator(schema()).iter_errors(data), key=lambda e: list(map(str, e.path)))), None
    )
    if error is not None:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        raise InputError(f"report{place}: {error.message}")
    _check_matrix(data.get("confusion_matrix"))


def _check_matrix(matrix: Mapping[str, Any] | None) -> None:
    if matrix is None:
        return
    size = len(matrix["labels"])
    if len(matrix["counts"]) != size or any(len(row) != size for row in matrix["counts"]):
        raise InputError(f"report.confusion_matrix: counts must be {size} rows of {size}, one for each label")


def write_report(report: Report, directory: Path) -> Path:
    """Write report.json and report.html into `directory` (made if missing) and return the path of report.json.

    The record is checked against schema.json first; each file appears complete or not at all, the JSON last.
    """
    from toolchain.report.html import render_html

    data = report.to_json()
    text = _dump(data)
    validate(json.loads(text))
    page = render_html(report)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / HTML_NAME, page)
    write_atomically(directory / JSON_NAME, text)
    return directory / JSON_NAME


def _dump(data: Any) -> str:
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (ValueError, TypeError) as error:
        raise InputError(f"report: {error}; every value must be plain JSON, and numbers finite") from None


def read_report(path: Path) -> Report:
    """Read a report.json, or the one in a build folder. Raises InputError if it is missing, damaged or of another version."""
    file = path / JSON_NAME if path.is_dir() else path
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: there is no report; `bitwright build` writes one into its output folder") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is damaged, not JSON ({error}); build again") from None
    try:
        return Report.from_json(data)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def write_atomically(path: Path, text: str) -> None:
    """Write a text file (UTF-8, line feeds) whole or not at all; its folder must be there. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner reads
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def status_of(entry: Mapping[str, Any]) -> str:
    """Of an entry of the ladder or of the checks: 'equal', 'explained' (equal but for ties), 'different' or 'empty'."""
    if entry["mismatches"]:
        return "different"
    if not entry["vectors"]:
        return "empty"
    return "explained" if entry.get("explained_ties") else "equal"


def ties_sentence(entry: Mapping[str, Any]) -> str:
    """What the explained differences of an entry are, as a sentence; '' where there are none."""
    count = entry.get("explained_ties", 0)
    if not count:
        return ""
    values = "1 value differs" if count == 1 else f"{count:,} values differ"
    return (
        f"{entry['name']}: {values} by the framework's own float32 rounding, beside a tie or on steps finer than float32 tells "
        "apart; each is accounted for, and is no mismatch. The interpreter's values are exact, and hardware is held to them."
    )


def highest_rung(report: Report) -> dict[str, Any] | None:
    """The ladder's entry of the highest rung that holds: at least one vector, no mismatch in it nor in any below it.

    Explained ties are no mismatches. None if there is none. Rungs that were not run below it do not count against it (a backend without C++ has no rung 2).
    """
    reached: dict[str, Any] | None = None
    for rung in sorted({entry["rung"] for entry in report.ladder}):
        entries = [entry for entry in report.ladder if entry["rung"] == rung]
        if any(entry["mismatches"] for entry in entries):
            break
        best = max(entries, key=lambda entry: int(entry["vectors"]))
        if best["vectors"]:
            reached = best
    return reached


def artefact_paths(report: Report) -> Iterator[tuple[str, str, str]]:
    """(name, path, SHA-256 or '') of every artefact."""
    for name, value in report.artefacts.items():
        if isinstance(value, str):
            yield name, value, ""
        else:
            yield name, value["path"], value["sha256"]
