# SPDX-License-Identifier: Apache-2.0
"""Folding given by hand: a JSON file, or its content, that gives layers their PE and SIMD."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, UsageError
from toolchain.target import GivenFolding

_KEYS = ("pe", "simd")
_EXAMPLE = '{"conv1": {"pe": 4, "simd": 9}}'


def read_folding(given: str | os.PathLike[str] | Mapping[str, Mapping[str, int]] | None) -> dict[str, GivenFolding]:
    """What is given, by layer; {} for None. Whether a network has these layers is found out when it is folded.

    given: a file of JSON, or what would be in it: layer -> {"pe": n, "simd": n}, of which one may be left out.
    Raises InputError for a file that cannot be read, UsageError for content that is not of this form.
    """
    if given is None:
        return {}
    if isinstance(given, str | os.PathLike):
        return _checked(_parsed(Path(given)), f"{Path(given)}: ")
    return _checked(given, "folding: ")


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: the folding cannot be read: {reason}") from None
    try:
        return json.loads(text, object_pairs_hook=_no_name_twice)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON ({error.msg}); write for example {_EXAMPLE}"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; write for example {_EXAMPLE}") from None
    except _Twice as error:
        raise UsageError(f"{path}: {error.args[0]!r} is given twice in one object; give it once") from None


class _Twice(Exception):
    pass


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def _checked(content: Any, where: str) -> dict[str, GivenFolding]:
    if not isinstance(content, Mapping):
        raise UsageError(
            f"{where}must be an object from layers to their folding, such as {_EXAMPLE}; found {_kind(content)}"
        )
    found: dict[str, GivenFolding] = {}
    for layer, entry in content.items():
        if type(layer) is not str:
            raise UsageError(f"{where}layers are named by text; found {layer!r}")
        if not isinstance(entry, Mapping):
            raise UsageError(
                f'{where}layer {layer!r} must have an object such as {{"pe": 4, "simd": 9}}; found {_kind(entry)}'
            )
        wrong = [key for key in entry if key not in _KEYS]
        if wrong or not entry:
            raise UsageError(
                f"{where}layer {layer!r} may have {' and '.join(_KEYS)}, and needs one of them; found "
                f"{', '.join(map(repr, wrong)) or 'neither'}"
            )
        for key, value in entry.items():
            if type(value) is not int or value < 1:
                raise UsageError(f"{where}layer {layer!r}: {key} must be a whole number of at least 1; found {value!r}")
        found[layer] = GivenFolding(**entry)
    return found


def _kind(value: Any) -> str:
    """What stands where an object should, short."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
