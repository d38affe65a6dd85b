# SPDX-License-Identifier: Apache-2.0
"""What a user decides of a network's folding: by layer, PE, SIMD or both; the rest is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from toolchain.errors import UsageError
from toolchain.ir import Conv, Dense, Graph
from toolchain.passes.choose_folding import foldable_stages, given_options
from toolchain.passes.folding_model import StageFolding
from toolchain.passes.group_stages import Stage
from toolchain.target import GivenFolding

#: How frontends write where a node comes from: 'name' (class).
_SOURCE = re.compile(r"'(.+)' \(\w+\)")


def given_foldings(graph: Graph, given: Mapping[str, GivenFolding]) -> dict[str, tuple[StageFolding, ...]]:
    """By stage, the foldings that agree with what is given of it: `Choices.given`.

    given: by the name of a node of a stage, or of the source's layer that it comes from. Of the stages that come from one layer, such
    as a border and the convolution in it, that name means the one with weights.
    Raises UsageError with the layer, what was found and what is allowed.
    """
    if not given:
        return {}
    stages = foldable_stages(graph)
    found: dict[str, tuple[StageFolding, ...]] = {}
    named: dict[str, str] = {}
    for name, entry in given.items():
        stage = _stage_of(name, stages)
        if stage.name in named:
            raise UsageError(f"folding: {named[stage.name]!r} and {name!r} are the same layer, {stage}; give it once")
        named[stage.name] = name
        found[stage.name] = given_options(stage, entry.simd, entry.pe)
    return found


def _stage_of(name: str, stages: Sequence[Stage]) -> Stage:
    by_name = next((stage for stage in stages if name in [node.name for node in stage.nodes]), None)
    if by_name is not None:
        return by_name
    of_layer = [stage for stage in stages if name and name in _layer_names(stage)]
    weighted = [stage for stage in of_layer if isinstance(stage.operation, Dense | Conv)]
    candidates = weighted if len(weighted) == 1 else of_layer
    if len(candidates) > 1:
        raise UsageError(
            f"folding: layer {name!r} became several stages: {', '.join(stage.name for stage in candidates)}; name one of these"
        )
    if not candidates:
        names = [stage.name for stage in stages]
        nearest = get_close_matches(name, names, 1, 0.5)
        hint = f"; nearest: {nearest[0]!r}" if nearest else ""
        raise UsageError(f"folding: the network has no layer {name!r}{hint}. Its layers: {', '.join(names) or 'none'}")
    return candidates[0]


def _layer_names(stage: Stage) -> tuple[str, ...]:
    source = stage.node.source
    match = _SOURCE.fullmatch(source)
    return (source, match[1]) if match else (source,)
