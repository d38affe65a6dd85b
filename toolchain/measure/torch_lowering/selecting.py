# SPDX-License-Identifier: Apache-2.0
"""The indices of the largest channels in PyTorch, of equal values the lower index first."""

from __future__ import annotations

from toolchain.ir import ArgMax, TensorType, TopK
from toolchain.measure.torch_lowering.registry import Constants, Step, lowers


@lowers(ArgMax)
def argmax(operation: ArgMax, types: tuple[TensorType, ...], make: Constants) -> Step:
    # torch.argmax returns the first of several maxima, as the graph does (documented since 1.7).
    return lambda x: x.argmax(dim=-1, keepdim=True).to(x.dtype)


@lowers(TopK)
def top_k(operation: TopK, types: tuple[TensorType, ...], make: Constants) -> Step:
    # torch.topk says nothing about equal values; a stable sort keeps their order.
    return lambda x: x.sort(dim=-1, descending=True, stable=True).indices[..., : operation.k].to(x.dtype)
