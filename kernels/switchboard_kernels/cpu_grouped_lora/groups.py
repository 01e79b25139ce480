"""Which rows belong to which adapter: worked out once per engine step, used by every layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from switchboard_kernels.errors import ShapeError

if TYPE_CHECKING:
    from switchboard_kernels.cpu_grouped_lora.native import NativeGroups


@dataclass(frozen=True)
class Group:
    """The rows of one adapter.

    Attributes:
        slot: The adapter's slot in the stacked weights.
        start: First position in ``TokenGroups.rows``.
        stop: Position after the last.
        first_row: First row of the batch if the rows are consecutive there, else None; then the
            group is a view and needs no copy.
    """

    slot: int
    start: int
    stop: int
    first_row: int | None


@dataclass(frozen=True)
class TokenGroups:
    """Rows of a batch sorted by adapter, rows of the base model left out.

    Attributes:
        tokens: Number of rows in the batch, the base model's included.
        rows: (adapter rows,) int64, row numbers sorted by slot, order kept within a slot.
        slots: (adapter rows,) int64, slot of each entry of ``rows``.
        groups: One entry per adapter in use, by slot.
    """

    tokens: int
    rows: torch.Tensor
    slots: torch.Tensor
    groups: tuple[Group, ...]

    @classmethod
    def from_indices(cls, indices: torch.Tensor) -> TokenGroups:
        """Sort a batch by adapter.

        Args:
            indices: (tokens,) integer slots on the CPU, negative for the base model.

        Returns:
            The groups.
        """
        slots, rows = torch.sort(indices.to(torch.int64), stable=True)
        base = int(torch.searchsorted(slots, 0))
        slots, rows = slots[base:].contiguous(), rows[base:].contiguous()
        unique, counts = torch.unique_consecutive(slots, return_counts=True)
        groups = []
        start = 0
        for slot, count in zip(unique.tolist(), counts.tolist(), strict=True):
            stop = start + count
            first, last = int(rows[start]), int(rows[stop - 1])
            # A stable sort keeps rows ascending within a slot, so the ends decide.
            run = first if last - first + 1 == count else None
            groups.append(Group(slot, start, stop, run))
            start = stop
        return cls(indices.numel(), rows, slots, tuple(groups))

    @cached_property
    def offsets(self) -> torch.Tensor:
        """(groups + 1,) int64: where each group starts in ``rows``, and the end."""
        ends = [group.stop for group in self.groups]
        return torch.tensor([0, *ends], dtype=torch.int64)

    @cached_property
    def group_slots(self) -> torch.Tensor:
        """(groups,) int64: slot of each group."""
        return torch.tensor([group.slot for group in self.groups], dtype=torch.int64)

    @cached_property
    def native(self) -> NativeGroups:
        """The groups in the form that the C++ library reads."""
        from switchboard_kernels.cpu_grouped_lora.native import NativeGroups

        return NativeGroups(self)


def check_rows(tokens: int, *tensors: torch.Tensor) -> None:
    """Refuse tensors with fewer rows than the batch that their adapters were sorted for.

    The C++ op has only pointers and would write past their end; torch would raise what it likes.

    Args:
        tokens: ``TokenGroups.tokens``.
        tensors: (rows, any) each, at least ``tokens`` rows; more are padding.

    Raises:
        ShapeError: One has too few rows.
    """
    rows = [tensor.shape[0] for tensor in tensors]
    if min(rows) < tokens:
        raise ShapeError(f"the batch has {tokens} tokens, the tensors have {rows} rows")
