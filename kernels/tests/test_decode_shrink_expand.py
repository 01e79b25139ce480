import pytest
import torch
from lora_batches import HAS_GPU, SHAPES, Batch, make_batch

pytest.importorskip("triton", reason="needs Triton")

from switchboard_kernels.decode_shrink_expand.kernel import (
    decode_shrink_expand,
    expand,
    shrink,
    split_k,
)
from switchboard_kernels.decode_shrink_expand.reference import decode_shrink_expand_reference
from switchboard_kernels.errors import ShapeError
from switchboard_kernels.tiles import DECODE_BLOCK_M, TileTable, tile_bound

DEVICE = "cuda" if HAS_GPU else "cpu"
# float16 keeps 11 bits of h and of y: half a unit each at outputs of about 4.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 6e-3, torch.bfloat16: 5e-2}


def run(batch: Batch, **options: object) -> torch.Tensor:
    table = TileTable(len(batch.indices), batch.a[0].shape[0], DEVICE)
    table.update(batch.indices.tolist())
    y = batch.y.to(DEVICE, copy=True)
    decode_shrink_expand(
        y,
        batch.x.to(DEVICE),
        [w.to(DEVICE) for w in batch.a],
        [w.to(DEVICE) for w in batch.b],
        table.rows,
        table.decode,
        **options,
    )
    return y.cpu()


def check(batch: Batch, **options: object) -> None:
    y = run(batch, **options)
    expected = decode_shrink_expand_reference(
        batch.y, batch.x, batch.a, batch.b, batch.indices.tolist(), **options
    )
    base = batch.indices < 0
    assert torch.equal(y[base], batch.y[base])
    assert (y.double() - expected).abs().max() <= TOLERANCE[batch.y.dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_the_reference(generator, shape, dtype):
    check(make_batch(generator, dtype=dtype, **shape))


def test_scale_offset_and_overwriting(generator):
    batch = make_batch(generator, widths=(20, 30), extra_columns=7)
    check(batch, scale=0.25, offset=4, add_inputs=False)
    check(batch, scale=-2.0, offset=7)


def test_rows_and_outputs_may_be_views_with_a_stride(generator):
    batch = make_batch(generator, tokens=12)
    table = TileTable(12, 3, DEVICE)
    table.update(batch.indices.tolist())
    wide = torch.zeros(12, 100, device=DEVICE)
    y = wide[:, 10 : 10 + batch.y.shape[1]]
    y.copy_(batch.y)
    a, b = [w.to(DEVICE) for w in batch.a], [w.to(DEVICE) for w in batch.b]
    x = torch.cat([batch.x, batch.x], dim=1).to(DEVICE)[:, : batch.x.shape[1]]
    decode_shrink_expand(y, x, a, b, table.rows, table.decode)
    expected = decode_shrink_expand_reference(
        batch.y, batch.x, batch.a, batch.b, batch.indices.tolist()
    )
    assert (y.cpu().double() - expected).abs().max() < 2e-5
    assert wide[:, :10].abs().sum() == wide[:, 10 + y.shape[1] :].abs().sum() == 0


def test_an_empty_adapter_changes_nothing(generator):
    batch = make_batch(generator, indices=[0, 1, 2, 1])
    batch.b[0][1] = 0
    y = run(batch)
    assert torch.equal(y[[1, 3]], batch.y[[1, 3]])


def test_a_row_does_not_depend_on_its_batch(generator):
    batch = make_batch(generator, tokens=40, slots=3)
    together = run(batch)
    for row in (0, 7, 39):
        alone = Batch(
            batch.y[row : row + 1],
            batch.x[row : row + 1],
            batch.a,
            batch.b,
            batch.indices[row : row + 1],
        )
        assert torch.allclose(run(alone)[0], together[row], atol=1e-5, rtol=0)


def test_the_same_buffers_serve_a_second_step(generator):
    """What a CUDA graph does: same addresses, new contents."""
    table = TileTable(16, 3, DEVICE)
    pointers = (table.rows.data_ptr(), table.decode.data_ptr())
    for indices in ([0] * 16, [2, -1, 1], [-1] * 16, [1] * 9):
        batch = make_batch(generator, indices=indices)
        table.update(indices)
        y = batch.y.to(DEVICE, copy=True)
        # A replay launches whatever `table.empty` says: Python's branch was taken at capture.
        decode_shrink_expand(
            y,
            batch.x.to(DEVICE),
            [w.to(DEVICE) for w in batch.a],
            [w.to(DEVICE) for w in batch.b],
            table.rows,
            table.decode,
        )
        expected = decode_shrink_expand_reference(batch.y, batch.x, batch.a, batch.b, indices)
        assert (y.cpu().double() - expected).abs().max() < 2e-5
        base = batch.indices < 0
        assert torch.equal(y.cpu()[base], batch.y[base])
    assert pointers == (table.rows.data_ptr(), table.decode.data_ptr())


@pytest.mark.parametrize(("tokens", "slots"), [(1, 1), (5, 9), (64, 3), (100, 32), (256, 1)])
def test_the_work_list_covers_each_adapter_row_once(generator, tokens, slots):
    indices = torch.randint(-1, slots, (tokens,), generator=generator).tolist()
    table = TileTable(tokens, slots, "cpu")
    table.update(indices)
    assert table.decode.shape[0] == tile_bound(tokens, slots, DECODE_BLOCK_M)
    seen = []
    for slot, start, count in table.decode.tolist():
        rows = table.rows[start : start + count].tolist()
        assert all(indices[row] == slot for row in rows)
        seen += rows
    assert sorted(seen) == [row for row, slot in enumerate(indices) if slot >= 0]


@pytest.mark.parametrize("hidden", [64, 2048, 4096, 8192, 300])
def test_every_share_of_hidden_has_work(hidden):
    for tiles in (1, 4, 300):
        assert 1 <= split_k(tiles, 3, hidden) <= max(1, -(-hidden // 128))


def test_a_fourth_slice_and_columns_beyond_y_are_refused(generator):
    batch = make_batch(generator, widths=(8, 8, 8, 8))
    table = TileTable(len(batch.indices), 3, "cpu")
    with pytest.raises(ShapeError, match="4 slices"):
        shrink(batch.x, batch.a, table.rows, table.decode)
    with pytest.raises(ShapeError, match="do not fit"):
        expand(batch.y, torch.zeros(1, 1, 9, 8), batch.b[:2], table.rows, table.decode, offset=20)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no NVIDIA GPU; bf16 is wrong in Triton's interpreter")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_the_reference_in_bfloat16(generator, shape):
    check(make_batch(generator, dtype=torch.bfloat16, **shape))


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no NVIDIA GPU; CUDA graphs need one")
def test_replays_in_a_cuda_graph(generator):
    batch = make_batch(generator, tokens=32, hidden=2048, widths=(512,), dtype=torch.bfloat16)
    table = TileTable(32, 3, DEVICE)
    x, a, b = batch.x.cuda(), [w.cuda() for w in batch.a], [w.cuda() for w in batch.b]
    y = batch.y.cuda()
    table.update(batch.indices.tolist())
    decode_shrink_expand(y, x, a, b, table.rows, table.decode)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        decode_shrink_expand(y, x, a, b, table.rows, table.decode)
    for indices in (batch.indices.tolist(), [0] * 32, [-1] * 32, [1] * 5 + [-1] * 27):
        y.copy_(batch.y)
        table.update(indices)
        graph.replay()
        expected = decode_shrink_expand_reference(batch.y, batch.x, batch.a, batch.b, indices)
        assert (y.cpu().double() - expected).abs().max() < TOLERANCE[torch.bfloat16]
