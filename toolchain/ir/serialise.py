# SPDX-License-Identifier: Apache-2.0
"""A graph as one file: a zip archive of `graph.json` and one `.npy` a constant. Plain data; loading runs no code.

The same graph always gives the same bytes (sorted keys, fixed time stamps), so files can be compared and cached.
Integers past 63 bits are written as decimal strings in the JSON part.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tempfile
import types
import typing
import zipfile
import zlib
from enum import Enum
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, SpecViolation
from toolchain.ir.graph import Graph, Node, Output
from toolchain.ir.operation import LEFT_OUT, Operation, operations
from toolchain.ir.types import IntegerType

FORMAT = "bitwright-graph"
VERSION = 1
SUFFIX = ".bitwright"
#: Refuse archives whose members expand to more than this many bytes: no real graph comes near.
MAXIMUM_BYTES = 4 << 30
#: The same for the JSON part, which takes many times its size when it is read.
MAXIMUM_JSON_BYTES = 256 << 20
#: What zipfile raises for a damaged or unusual archive (RuntimeError: encrypted; also JSON that is nested too deeply).
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


def _encode(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return {"shape": list(value.shape), "integers": [str(v) for v in value.ravel()]}
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, IntegerType):
        return {f.name: str(v) if type(v := getattr(value, f.name)) is int else v for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return [_encode(v, arrays) for v in value]
    return str(value) if type(value) is int and abs(value) >= 1 << 53 else value


def _describe(graph: Graph) -> tuple[dict[str, Any], list[np.ndarray]]:
    arrays: list[np.ndarray] = []

    def fields(value: Any) -> dict[str, Any]:
        return {
            field.name: _encode(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
            if not (field.metadata.get(LEFT_OUT) and getattr(value, field.name) == field.default)
        }

    nodes = [
        {
            "name": node.name,
            "operation": node.operation.kind,
            "fields": fields(node.operation),
            "inputs": list(node.inputs),
            "source": node.source,
        }
        for node in graph.nodes
    ]
    outputs = [fields(output) for output in graph.outputs]
    return {"format": FORMAT, "version": VERSION, "name": graph.name, "nodes": nodes, "outputs": outputs}, arrays


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).astype("<i8"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _read_npy(content: bytes) -> np.ndarray:
    """The array of a file that `_npy` wrote. Its size is checked first: a header can claim any."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array file of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.dtype("<i8") or fortran or 8 * prod(shape) != len(content) - stream.tell():
        raise ValueError(f"an array of {dtype} and shape {shape} in {len(content)} bytes; expected 64-bit integers")
    return np.frombuffer(content, dtype="<i8", offset=stream.tell()).reshape(shape)


def canonical_description(graph: Graph) -> tuple[bytes, list[bytes]]:
    """(JSON, arrays) as bytes that are equal exactly when two graphs compute the same under the same names."""
    description, arrays = _describe(graph)
    for node in description["nodes"]:
        del node["source"]
    return json.dumps(description, sort_keys=True).encode(), [_npy(array) for array in arrays]


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> Path:
    """Write the graph to `path`, whole or not at all."""
    path = Path(path)
    description, arrays = _describe(graph)
    description["metadata"] = dict(graph.metadata)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            members = [("graph.json", json.dumps(description, sort_keys=True, indent=1).encode())]
            members += [(f"array_{index}.npy", _npy(array)) for index, array in enumerate(arrays)]
            for name, content in members:
                member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                member.compress_type = zipfile.ZIP_DEFLATED
                member.external_attr = 0o644 << 16
                archive.writestr(member, content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read a graph file. Raises InputError for a file that is missing, damaged or not a graph, SpecViolation for a bad graph."""
    from toolchain.ir.spec import check

    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAXIMUM_BYTES:
                raise InputError(f"{path}: expands to {size} bytes, more than the {MAXIMUM_BYTES} allowed for a graph")
            size = archive.getinfo("graph.json").file_size
            if size > MAXIMUM_JSON_BYTES:
                raise InputError(f"{path}: graph.json has {size} bytes, more than the {MAXIMUM_JSON_BYTES} allowed")
            description = json.loads(archive.read("graph.json"))
            if description.get("format") != FORMAT or description.get("version") != VERSION:
                raise InputError(
                    f"{path}: format {description.get('format')!r} version {description.get('version')!r}; "
                    f"this release reads {FORMAT!r} version {VERSION}"
                )
            reader = _Reader(archive)
            graph = Graph(
                reader.text(description["name"]),
                tuple(reader.node(entry) for entry in description["nodes"]),
                tuple(reader.build(Output, entry) for entry in description["outputs"]),
                {str(k): str(v) for k, v in description.get("metadata", {}).items()},
            )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (*_DAMAGE, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a readable graph file ({type(error).__name__}: {error})") from None
    return check(graph)


class _Reader:
    """Turns the JSON part back into values, checking every field against its declared type."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._taken: set[int] = set()

    def text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"expected text, found {value!r}")
        return value

    def node(self, entry: dict[str, Any]) -> Node:
        cls = operations().get(entry["operation"])
        if cls is None:
            raise SpecViolation(
                f"node {entry.get('name')!r}: unknown operation {entry['operation']!r}; known: {', '.join(operations())}"
            )
        inputs = tuple(self.text(name) for name in entry["inputs"])
        try:
            operation = self.build(cls, entry["fields"])
        except SpecViolation as error:
            raise SpecViolation(f"node {entry['name']!r} ({cls.kind}): {error}") from None
        return Node(self.text(entry["name"]), operation, inputs, self.text(entry["source"]))

    def build(self, cls: Any, entry: dict[str, Any]) -> Any:
        hints = _hints(cls)
        names = {f.name for f in dataclasses.fields(cls)}
        required = {f.name for f in dataclasses.fields(cls) if not f.metadata.get(LEFT_OUT)}
        if not required <= set(entry) <= names:
            raise ValueError(f"{cls.__name__}: expected fields {sorted(names)}, found {sorted(entry)}")
        return cls(**{name: self.value(hints[name], entry[name]) for name in names if name in entry})

    def value(self, hint: Any, value: Any) -> Any:
        origin = typing.get_origin(hint)
        if origin in (typing.Union, types.UnionType):
            if value is None:
                return None
            return self.value(next(h for h in typing.get_args(hint) if h is not type(None)), value)
        if origin is tuple:
            return tuple(self.value(typing.get_args(hint)[0], v) for v in value)
        if hint is np.ndarray:
            return self.array(value)
        if hint is IntegerType:
            return self.build(IntegerType, value)
        if hint is int:
            if type(value) is not int and not isinstance(value, str):
                raise TypeError(f"expected an integer, found {value!r}")
            return int(value)
        if hint is float:
            return float.fromhex(value)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(value)
        if hint in (bool, str) and type(value) is hint:
            return value
        raise TypeError(f"expected {hint}, found {value!r}")

    def array(self, value: dict[str, Any]) -> np.ndarray:
        if "array" in value:
            index = int(value["array"])
            if index in self._taken:  # many uses of one large array would fill the memory
                raise ValueError(f"array {index} is used twice")
            self._taken.add(index)
            return _read_npy(self._archive.read(f"array_{index}.npy"))
        flat = np.empty(len(value["integers"]), dtype=object)
        flat[:] = [int(text) for text in value["integers"]]
        return flat.reshape([int(size) for size in value["shape"]])


@cache
def _hints(cls: type[Operation]) -> dict[str, Any]:
    return typing.get_type_hints(cls)
