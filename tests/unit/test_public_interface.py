# SPDX-License-Identifier: Apache-2.0
"""What `import toolchain` offers: every name resolves, and all that the commands do can be done from Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import toolchain

SOURCE = ast.parse(Path(toolchain.__file__).read_text(encoding="utf-8"))


def test_every_public_name_is_there() -> None:
    assert sorted(toolchain.__all__) == sorted([*toolchain._PUBLIC, "__version__"])
    for name in toolchain.__all__:
        assert getattr(toolchain, name) is not None
    with pytest.raises(AttributeError, match="module 'toolchain' has no attribute 'nothing'"):
        toolchain.nothing  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {
        alias.asname: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == toolchain._PUBLIC


def test_what_commands_run_is_public() -> None:
    """The commands import the function that does their work; those that only print are left out."""
    commands = Path(toolchain.__file__).with_name("cli.py").read_text(encoding="utf-8")
    imported = set()
    for names in re.findall(r"^    from toolchain\.(?!progress|build\.runner)[a-z_.]+ import (.+)$", commands, re.M):
        imported |= {name.split(" as ")[0].strip() for name in names.split(",")}
    done = {name for name in imported if not name.startswith("print_")}
    assert done >= {"build_hardware", "inspect_model", "quantise_model"}
    # From Python, a model is quantised without a folder to write to.
    assert done - {"quantise_model"} <= set(toolchain._PUBLIC)
