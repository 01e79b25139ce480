import pytest
import torch
from lora_batches import HAS_GPU, SHAPES, Batch, make_batch

pytest.importorskip("triton", reason="needs Triton")

from switchboard_kernels.decode_shrink_expand.kernel import expand
from switchboard_kernels.decode_shrink_expand.reference import decode_shrink_expand_reference
from switchboard_kernels.errors import ShapeError
from switchboard_kernels.prefill_shrink.kernel import prefill_shrink
from switchboard_kernels.prefill_shrink.reference import prefill_shrink_reference
from switchboard_kernels.tiles import PREFILL_BLOCK_M, TileTable

DEVICE = "cuda" if HAS_GPU else "cpu"
TOLERANCE = {torch.float32: 2e-5, torch.float16: 6e-3, torch.bfloat16: 5e-2}


def on_device(batch: Batch) -> tuple[TileTable, torch.Tensor, list[torch.Tensor]]:
    table = TileTable(len(batch.indices), batch.a[0].shape[0], DEVICE)
    table.update(batch.indices.tolist())
    return table, batch.x.to(DEVICE), [w.to(DEVICE) for w in batch.a]


def check(batch: Batch, scale: float = 1.0) -> None:
    table, x, a = on_device(batch)
    h = prefill_shrink(x, a, table.rows, table.prefill, scale=scale).sum(dim=0).cpu()
    expected = prefill_shrink_reference(batch.x, batch.a, batch.indices.tolist(), scale=scale)
    rows = torch.argsort(batch.indices, stable=True)[int((batch.indices < 0).sum()) :]
    # The inputs are exact in every type and the sum is float32: one tolerance for all.
    assert torch.allclose(h[:, : len(rows)].double(), expected[:, rows], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_the_reference(generator, shape, dtype):
    check(make_batch(generator, dtype=dtype, **shape), scale=0.5)


def test_a_prompt_of_several_blocks(generator):
    check(make_batch(generator, tokens=2 * PREFILL_BLOCK_M + 5, widths=(8, 8), slots=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_followed_by_expand_it_applies_the_adapters(generator, dtype):
    batch = make_batch(generator, tokens=150, widths=(40, 20, 20), slots=4, dtype=dtype)
    table, x, a = on_device(batch)
    y = batch.y.to(DEVICE, copy=True)
    h = prefill_shrink(x, a, table.rows, table.prefill)
    b = [w.to(DEVICE) for w in batch.b]
    expand(y, h, b, table.rows, table.prefill, block_m=PREFILL_BLOCK_M)
    expected = decode_shrink_expand_reference(
        batch.y, batch.x, batch.a, batch.b, batch.indices.tolist()
    )
    base = batch.indices < 0
    assert torch.equal(y.cpu()[base], batch.y[base])
    assert (y.cpu().double() - expected).abs().max() < TOLERANCE[dtype]


def test_mismatched_hidden_is_refused(generator):
    batch = make_batch(generator)
    table, x, a = on_device(batch)
    with pytest.raises(ShapeError, match="hidden must agree"):
        prefill_shrink(x[:, :-1], a, table.rows, table.prefill)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no NVIDIA GPU; bf16 is wrong in Triton's interpreter")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_the_reference_in_bfloat16(generator, shape):
    check(make_batch(generator, dtype=torch.bfloat16, **shape))
