"""The CUDA wrapper's own decisions, on tensors that Triton's interpreter can take."""

import importlib.util
import warnings
from types import SimpleNamespace

import pytest
import torch
from lora_batches import HAS_GPU, Batch, make_batch

pytest.importorskip("triton", reason="needs Triton")
if importlib.util.find_spec("vllm") is None:
    pytest.skip("needs vLLM", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what vLLM's import says is not ours to fix
    from switchboard_kernels.gpu_vllm_plugin import GroupedPunicaWrapperGPU, PunicaWrapperGPU

from switchboard_kernels.decode_shrink_expand.reference import decode_shrink_expand_reference
from switchboard_kernels.tiles import TileTable

DEVICE = "cuda" if HAS_GPU else "cpu"
DTYPE = torch.bfloat16 if HAS_GPU else torch.float16


@pytest.fixture
def wrapper(monkeypatch) -> GroupedPunicaWrapperGPU:
    """As vLLM makes it, without vLLM's own metadata, which needs a GPU."""
    monkeypatch.setattr(PunicaWrapperGPU, "update_metadata", lambda *args, **kwargs: None)
    made = object.__new__(GroupedPunicaWrapperGPU)
    made.max_loras = 3
    made._table = TileTable(512, 3, DEVICE)
    return made


def apply(wrapper: GroupedPunicaWrapperGPU, batch: Batch, scale: float = 1.0) -> torch.Tensor:
    # vLLM's own numbers of adapters, 0 for the base model, and the slots they are in.
    in_slot = [30, 10, 20]
    mapping = SimpleNamespace(
        index_mapping=tuple(in_slot[i] if i >= 0 else 0 for i in batch.indices.tolist())
    )
    wrapper.update_metadata(mapping, in_slot, 3, 100)
    y = batch.y.to(DEVICE, copy=True)
    a, b = (tuple(w.to(DEVICE) for w in stacked) for stacked in (batch.a, batch.b))
    wrapper.add_lora_linear(y, batch.x.to(DEVICE), a, b, scale, tuple(batch.widths))
    return y.cpu()


@pytest.mark.parametrize("tokens", [7, 300], ids=["decode", "prefill"])
def test_a_step_equals_the_reference(generator, wrapper, tokens):
    batch = make_batch(generator, tokens=tokens, widths=(40, 20, 20), dtype=DTYPE)
    y = apply(wrapper, batch, scale=0.5)
    expected = decode_shrink_expand_reference(
        batch.y, batch.x, batch.a, batch.b, batch.indices.tolist(), scale=0.5
    )
    base = batch.indices < 0
    assert torch.equal(y[base], batch.y[base])
    assert (y.double() - expected).abs().max() < 5e-2


def test_a_step_without_adapters_changes_nothing(generator, wrapper):
    batch = make_batch(generator, indices=[-1, -1, -1], dtype=DTYPE)
    assert torch.equal(apply(wrapper, batch), batch.y)


@pytest.mark.parametrize("tokens", [6, 300], ids=["decode", "prefill"])
def test_a_replayed_step_without_adapters_changes_nothing(generator, wrapper, tokens):
    """A graph captured with adapters launches its kernels again, past the flag `empty`."""
    batch = make_batch(generator, tokens=tokens, dtype=DTYPE)
    assert not torch.equal(apply(wrapper, batch), batch.y)
    batch.indices.fill_(-1)
    apply(wrapper, batch)
    wrapper._table.empty.fill_(False)  # as it was when the graph was captured
    y = batch.y.to(DEVICE, copy=True)
    a, b = (tuple(w.to(DEVICE) for w in stacked) for stacked in (batch.a, batch.b))
    wrapper.add_lora_linear(y, batch.x.to(DEVICE), a, b, 1.0, tuple(batch.widths))
    assert torch.equal(y.cpu(), batch.y)


@pytest.mark.parametrize(
    "options", [{"widths": (8, 8, 8, 8)}, {"dtype": torch.float32}], ids=["4 slices", "float32"]
)
def test_what_the_kernels_do_not_take_goes_to_vllm(generator, wrapper, monkeypatch, options):
    calls = []
    monkeypatch.setattr(PunicaWrapperGPU, "add_lora_linear", lambda *a, **k: calls.append(a))
    apply(wrapper, make_batch(generator, **({"dtype": DTYPE} | options)))
    assert len(calls) == 1


def test_the_launch_is_one_op_to_torch_compile(generator, wrapper):
    """No graph break, and the next step's contents are read, not the traced step's."""
    batch = make_batch(generator, tokens=6, dtype=DTYPE)
    x, a, b = batch.x.to(DEVICE), *([w.to(DEVICE) for w in s] for s in (batch.a, batch.b))

    @torch.compile(backend="eager", fullgraph=True)
    def layer(y: torch.Tensor) -> torch.Tensor:
        y = y + 0
        wrapper.add_lora_linear(y, x, tuple(a), tuple(b), 1.0, tuple(batch.widths))
        return y

    for indices in ([0, 1, 2, -1, 0, 1], [-1] * 6, [2, 2, 2, 2, 2, -1]):
        wrapper._table.update(indices)
        expected = decode_shrink_expand_reference(batch.y, batch.x, batch.a, batch.b, indices)
        y = layer(batch.y.to(DEVICE)).cpu().double()
        assert (y - expected).abs().max() < 5e-2
