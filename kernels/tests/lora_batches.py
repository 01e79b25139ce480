"""Random layers and batches that the tests of several kernels share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

HAS_GPU = torch.cuda.is_available()


@dataclass
class Batch:
    """A layer's weights and one step's rows; ``indices`` says which adapter each row has."""

    y: torch.Tensor
    x: torch.Tensor
    a: list[torch.Tensor]
    b: list[torch.Tensor]
    indices: torch.Tensor

    @property
    def widths(self) -> list[int]:
        return [w.shape[-2] for w in self.b]


def make_batch(
    generator: torch.Generator,
    *,
    tokens: int = 9,
    hidden: int = 64,
    widths: tuple[int, ...] = (48,),
    rank: int = 8,
    slots: int = 3,
    indices: list[int] | None = None,
    extra_columns: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    chosen = (
        torch.randint(-1, slots, (tokens,), generator=generator)
        if indices is None
        else torch.tensor(indices)
    )
    tokens = len(chosen)
    return Batch(
        y=random(tokens, sum(widths) + extra_columns),
        x=random(tokens, hidden) * hidden**-0.5,
        a=[random(slots, 1, rank, hidden) for _ in widths],
        b=[random(slots, 1, width, rank) * rank**-0.5 for width in widths],
        indices=chosen,
    )


SHAPES = {
    "one token": {"indices": [1]},
    "all base": {"indices": [-1] * 5},
    "base between adapters": {"indices": [0, -1, 2, -1, 0, 2]},
    "one adapter, consecutive rows": {"indices": [-1, 1, 1, 1, -1]},
    "one adapter for all": {"indices": [2] * 20},
    "an adapter in every slot": {"indices": [3, 1, 0, 2, 1, 0], "slots": 4},
    "far more slots than adapters in use": {"indices": [6, 6, 2], "slots": 9},
    "more rows than a block": {"tokens": 75, "slots": 2},
    "three slices of unequal width": {"widths": (48, 17, 5)},
    "two slices": {"widths": (33, 70)},
    "odd hidden": {"hidden": 37, "widths": (31,)},
    "rank that fills no tile": {"rank": 6, "hidden": 50},
    "rank of one": {"rank": 1},
    "rank above a tile": {"rank": 40, "widths": (20, 30)},
    "hidden above a block": {"hidden": 300, "tokens": 5},
}
