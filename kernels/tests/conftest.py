"""Without a GPU the Triton kernels run in Triton's interpreter, chosen before they are imported."""

import os

import pytest
import torch
from lora_batches import HAS_GPU

if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.fixture(autouse=True)
def no_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests choose the package's switches themselves."""
    monkeypatch.delenv("SWITCHBOARD_KERNELS", raising=False)
    monkeypatch.delenv("SWITCHBOARD_KERNELS_NATIVE", raising=False)
