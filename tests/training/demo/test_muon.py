"""Our Muon takes PyTorch's steps, but for the rounding of its bfloat16."""

import pytest
import torch

from training.demo.muon import Muon, orthogonalized


def test_orthogonalized_has_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in [(2, 16, 40), (3, 40, 16), (1, 24, 24)]:
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
        assert values.shape == (shape[0], min(shape[1:]))
        assert values.median() > 0.6
        assert values.max() < 1.5


def test_steps_are_those_of_pytorch_s_muon() -> None:
    torch.manual_seed(0)
    start = [torch.randn(16, 40), torch.randn(40, 16), torch.randn(16, 40)]
    ours = [torch.nn.Parameter(x.clone()) for x in start]
    theirs = [torch.nn.Parameter(x.clone()) for x in start]
    optimizers = Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.0)
    for _ in range(3):
        for x, y in zip(ours, theirs, strict=True):
            x.grad = torch.randn_like(x)
            y.grad = x.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for x, y, first in zip(ours, theirs, start, strict=True):
        assert (x - y).norm() < 0.03 * (y - first).norm()


def test_only_matrices_are_taken() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
