"""The CPU wrapper's own decisions, with vLLM's real metadata and no engine."""

import importlib.util
import warnings

import pytest
import torch
from lora_batches import Batch, make_batch

if importlib.util.find_spec("vllm") is None:
    pytest.skip("needs vLLM", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what vLLM's import says is not ours to fix
    from vllm.lora.layers import LoRAMapping

    from switchboard_kernels.cpu_grouped_lora.vllm_plugin import GroupedPunicaWrapperCPU

from switchboard_kernels.cpu_grouped_lora.reference import cpu_grouped_lora_reference
from switchboard_kernels.errors import ShapeError

IN_SLOT = [30, 10, 20]
INDICES = [0, 1, 2, -1, 0, 1]


@pytest.fixture
def wrapper() -> GroupedPunicaWrapperCPU:
    made = GroupedPunicaWrapperCPU(16, 16, "cpu")
    mapping = tuple(IN_SLOT[slot] if slot >= 0 else 0 for slot in INDICES)
    made.update_metadata(LoRAMapping(mapping, mapping, is_prefill=False), IN_SLOT, 3, 100)
    return made


def linear(wrapper: GroupedPunicaWrapperCPU, batch: Batch) -> None:
    wrapper.add_lora_linear(
        batch.y, batch.x, tuple(batch.a), tuple(batch.b), 1.0, tuple(batch.widths)
    )


def logits(wrapper: GroupedPunicaWrapperCPU, batch: Batch) -> None:
    wrapper.add_lora_logits(batch.y, batch.x, batch.a[0], batch.b[0], 1.0)


@pytest.mark.parametrize("apply", [linear, logits])
def test_a_step_equals_the_reference(generator, wrapper, apply):
    batch = make_batch(generator, indices=INDICES)
    expected = cpu_grouped_lora_reference(batch.y, batch.x, batch.a, batch.b, batch.indices)
    apply(wrapper, batch)
    assert (batch.y.double() - expected).abs().max() < 2e-5


@pytest.mark.parametrize("apply", [linear, logits])
def test_fewer_rows_than_the_step_has_are_refused_and_not_written(generator, wrapper, apply):
    """What the logits of two prompt tokens are to the metadata of a step of six requests."""
    batch = make_batch(generator, indices=INDICES)
    whole = batch.y
    before = whole.clone()
    batch.y, batch.x = whole[:2], batch.x[:2]
    with pytest.raises(ShapeError, match="the batch has 6 tokens"):
        apply(wrapper, batch)
    assert torch.equal(whole, before)
