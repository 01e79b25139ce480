"""One layer's stacked weights, and how much of them is in use.

vLLM gives every slot the greatest rank and every layer all its slices; an adapter of a lower rank,
or without some modules, leaves zeros. Products with those zeros are skipped: their columns are
counted when the weights change, which torch's version counter of each tensor tells.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from switchboard_kernels.cpu_grouped_lora.groups import TokenGroups


class LayerWeights:
    """The stacked A and B of a layer.

    Args:
        a: One (slots, 1, rank, hidden) per slice; empty for an embedding, whose A was looked up.
        b: One (slots, 1, slice columns, rank) per slice.
        library: The C++ library, which counts faster, or None.

    Attributes:
        widths: Columns of each slice.
        ranks: (slices, slots) int64, columns of B in use; 0 where a slot holds no adapter.
    """

    def __init__(
        self,
        a: Sequence[torch.Tensor],
        b: Sequence[torch.Tensor],
        library: ctypes.CDLL | None = None,
    ) -> None:
        self.a = tuple(a)
        self.b = tuple(b)
        self.widths = tuple(w.shape[-2] for w in b)
        slots, rank = b[0].shape[0], b[0].shape[-1]
        self.ranks = torch.full((len(b), slots), rank, dtype=torch.int64)
        self._library = library
        # Inference tensors carry no version: then every column counts as used.
        self._tracked = not any(w.is_inference() for w in b)
        self._versions: list[int] = []

    def refresh(self) -> None:
        """Count the columns in use again if the weights changed since the last call."""
        if not self._tracked:
            return
        versions = [w._version for w in self.b]
        if versions == self._versions:
            return
        self._versions = versions
        for ranks, w in zip(self.ranks, self.b, strict=True):
            if self._library is not None and w.is_contiguous():
                self._library.sk_ranks(
                    w.data_ptr(),
                    w.shape[0],
                    w.shape[-2],
                    w.shape[-1],
                    w.element_size(),
                    ranks.data_ptr(),
                )
            else:
                columns = torch.arange(1, w.shape[-1] + 1)
                ranks.copy_((w[:, 0].ne(0).any(dim=1) * columns).amax(dim=1))

    def silent(self, groups: TokenGroups) -> bool:
        """Whether no adapter of the batch has weights in this layer."""
        return not bool(self.ranks[:, groups.group_slots].any())
