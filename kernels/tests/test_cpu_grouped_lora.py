import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lora_batches import SHAPES, Batch, make_batch

from switchboard_kernels.cpu_grouped_lora import (
    TokenGroups,
    grouped_expand,
    grouped_lora,
    grouped_shrink,
    native,
    op,
)
from switchboard_kernels.cpu_grouped_lora.native import (
    NativeGroups,
    NativeLayer,
    native_grouped_lora,
)
from switchboard_kernels.cpu_grouped_lora.reference import cpu_grouped_lora_reference
from switchboard_kernels.cpu_grouped_lora.weights import LayerWeights
from switchboard_kernels.errors import BuildError, ShapeError

LIBRARY = native.load()
IMPLEMENTATIONS = [
    "torch",
    pytest.param(
        "native",
        marks=pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler or no AVX2"),
    ),
]
# bfloat16 keeps 8 bits: half a unit each of h and of y at outputs of about 4.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 5e-2}


def run(implementation: str, batch: Batch, **options) -> torch.Tensor:
    y = batch.y.clone()
    groups = TokenGroups.from_indices(batch.indices)
    if implementation == "torch":
        grouped_lora(y, batch.x, batch.a, batch.b, batch.widths, groups, **options)
        return y
    weights = LayerWeights(batch.a, batch.b, LIBRARY)
    weights.refresh()
    assert NativeLayer.fits(weights)
    settings = {"scale": 1.0, "offset": 0, "add_inputs": True} | options
    layer, sorted_rows = NativeLayer(weights), NativeGroups(groups)
    assert native_grouped_lora(LIBRARY, y, batch.x, layer, sorted_rows, **settings)
    return y


def check(implementation: str, batch: Batch, **options) -> None:
    y = run(implementation, batch, **options)
    expected = cpu_grouped_lora_reference(
        batch.y, batch.x, batch.a, batch.b, batch.indices, **options
    )
    base = batch.indices < 0
    assert torch.equal(y[base], batch.y[base])
    assert (y.double() - expected).abs().max() <= TOLERANCE[batch.y.dtype]


def fits(shape: dict) -> bool:
    """The C++ op wants even ranks and hidden sizes; the plugin sends the others to torch."""
    return shape.get("rank", 8) % 2 == 0 and shape.get("hidden", 64) % 2 == 0


@pytest.mark.parametrize("gather_below", [0, 10**12], ids=["grouped", "gather"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_torch_equals_the_reference(generator, monkeypatch, shape, dtype, gather_below):
    monkeypatch.setattr(op, "GATHER_BELOW_WEIGHTS_PER_ADAPTER", gather_below)
    check("torch", make_batch(generator, dtype=dtype, **shape))


@pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler or no AVX2")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "shape", [s for s in SHAPES.values() if fits(s)], ids=[n for n, s in SHAPES.items() if fits(s)]
)
def test_native_equals_the_reference(generator, shape, dtype):
    check("native", make_batch(generator, dtype=dtype, **shape))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_enough_for_threads_and_row_blocks(generator, implementation, dtype):
    batch = make_batch(
        generator, tokens=400, hidden=260, widths=(96, 40), rank=16, slots=3, dtype=dtype
    )
    check(implementation, batch)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_scale_offset_and_overwriting(generator, implementation):
    batch = make_batch(generator, widths=(20, 30), extra_columns=7)
    check(implementation, batch, scale=0.25, offset=4, add_inputs=False)
    check(implementation, batch, scale=-2.0, offset=7)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_rows_may_be_views_with_a_stride(generator, implementation):
    batch = make_batch(generator, tokens=12)
    batch.x = torch.cat([batch.x, batch.x], dim=1)[:, : batch.x.shape[1]]
    assert not batch.x.is_contiguous()
    check(implementation, batch)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_base_rows_keep_every_bit(generator, implementation):
    """Even a negative zero, which adding zero would turn positive, and rows of NaN."""
    batch = make_batch(generator, indices=[0, -1, 1, -1])
    batch.y[1] = -0.0
    batch.y[3] = float("nan")
    batch.x[3] = float("inf")
    y = run(implementation, batch)
    assert torch.equal(y[1].view(torch.int32), batch.y[1].view(torch.int32))
    assert torch.equal(y[3].view(torch.int32), batch.y[3].view(torch.int32))
    assert torch.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_row_does_not_depend_on_its_batch(generator, implementation):
    batch = make_batch(generator, tokens=60, slots=3)
    together = run(implementation, batch)
    for row in range(0, 60, 7):
        part = slice(row, row + 1)
        alone = Batch(batch.y[part], batch.x[part], batch.a, batch.b, batch.indices[part])
        assert torch.allclose(run(implementation, alone)[0], together[row], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_missing_slice_and_a_lower_rank_are_skipped_not_wrong(generator, implementation):
    batch = make_batch(generator, widths=(20, 30), rank=16, indices=[0, 1, 2, 1, -1])
    batch.a[0][1] = batch.b[0][1] = 0
    batch.a[1][1, 0, 5:] = 0
    batch.b[1][1, 0, :, 5:] = 0
    check(implementation, batch)
    y = run(implementation, batch)
    assert torch.equal(y[1, :20], batch.y[1, :20])


@pytest.mark.parametrize("library", [None, LIBRARY], ids=["torch", "native"])
def test_ranks_in_use_follow_the_weights(generator, library):
    b = [torch.zeros(3, 1, 9, 8), torch.zeros(3, 1, 5, 8)]
    weights = LayerWeights((), b, library)
    weights.refresh()
    assert weights.ranks.tolist() == [[0, 0, 0], [0, 0, 0]]
    groups = TokenGroups.from_indices(torch.tensor([1, 1]))
    assert weights.silent(groups)
    b[0][1, 0, 4, :3].copy_(torch.ones(3))
    b[1][2] = torch.randn(5, 8, generator=generator)
    weights.refresh()
    assert weights.ranks.tolist() == [[0, 3, 0], [0, 0, 8]]
    assert not weights.silent(groups)
    b[0][1] = 0
    weights.refresh()
    assert weights.ranks.tolist() == [[0, 0, 0], [0, 0, 8]]


def test_weights_without_a_version_count_as_full():
    with torch.inference_mode():
        weights = LayerWeights((), [torch.zeros(2, 1, 4, 8)])
    weights.refresh()
    assert weights.ranks.tolist() == [[8, 8]]


@pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler or no AVX2")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_native_expands_what_an_embedding_looked_up(generator, dtype):
    batch = make_batch(generator, hidden=8, rank=8, dtype=dtype)
    weights = LayerWeights((), batch.b, LIBRARY)
    groups = TokenGroups.from_indices(batch.indices)
    mine, theirs = batch.y.clone(), batch.y.clone()
    grouped_expand(theirs, [batch.x], batch.b, batch.widths, groups)
    assert native_grouped_lora(
        LIBRARY,
        mine,
        batch.x,
        NativeLayer(weights),
        groups.native,
        scale=1.0,
        offset=0,
        add_inputs=True,
    )
    assert (mine.double() - theirs.double()).abs().max() <= TOLERANCE[dtype]


@pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler or no AVX2")
def test_native_declines_what_it_cannot_read(generator):
    batch = make_batch(generator)
    layer = NativeLayer(LayerWeights(batch.a, batch.b))
    groups = TokenGroups.from_indices(batch.indices).native
    settings = {"scale": 1.0, "offset": 0, "add_inputs": True}
    for y, x in (
        (batch.y.double(), batch.x),
        (batch.y, batch.x.t().contiguous().t()),
        (batch.y[:, :-1], batch.x),
    ):
        before = y.clone()
        assert not native_grouped_lora(LIBRARY, y, x, layer, groups, **settings)
        assert torch.equal(y, before)
    odd = make_batch(generator, rank=3)
    assert not NativeLayer.fits(LayerWeights(odd.a, odd.b))
    assert not NativeLayer.fits(LayerWeights(batch.a, [w.double() for w in batch.b]))


def test_shrink_then_expand_equals_the_whole(generator):
    batch = make_batch(generator, widths=(20, 30), dtype=torch.float64)
    groups = TokenGroups.from_indices(batch.indices)
    parts = grouped_shrink(batch.x, batch.a, groups, scale=1.0, dtype=torch.float64)
    buffers = [torch.zeros(len(batch.indices), 8, dtype=torch.float64) for _ in batch.a]
    for buffer, part in zip(buffers, parts, strict=True):
        buffer[groups.rows] = part
    y = batch.y.clone()
    grouped_expand(y, buffers, batch.b, batch.widths, groups)
    assert torch.allclose(y, run("torch", batch), atol=1e-12)


def test_groups_list_each_adapter_row_once_in_order(generator):
    indices = torch.randint(-1, 5, (50,), generator=generator)
    groups = TokenGroups.from_indices(indices)
    for group in groups.groups:
        rows = groups.rows[group.start : group.stop]
        assert rows.tolist() == torch.nonzero(indices == group.slot)[:, 0].tolist()
        consecutive = rows[-1] - rows[0] + 1 == len(rows)
        assert group.first_row == (int(rows[0]) if consecutive else None)
    assert groups.offsets[-1] == (indices >= 0).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slices": (48, 1)}, "give one each a slice"),
        ({"slices": (49,)}, "exceed y's 48 columns"),
        ({"x": torch.zeros(2, 64)}, "9 tokens, the tensors have \\[9, 2\\] rows"),
        ({"y": torch.zeros(2, 48)}, "9 tokens, the tensors have \\[2, 9\\] rows"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(generator, change, message):
    batch = make_batch(generator)
    groups = TokenGroups.from_indices(batch.indices)
    arguments = {"y": batch.y, "x": batch.x, "a": batch.a, "b": batch.b, "slices": batch.widths}
    with pytest.raises(ShapeError, match=message):
        grouped_lora(**(arguments | change), groups=groups)


@pytest.mark.parametrize("short", ["y", "x"])
def test_too_few_rows_never_reach_the_library(generator, short):
    """The library is a trap here: it has only pointers, so Python must not call it."""

    def trap(*_: object) -> None:
        pytest.fail("the library was called")

    batch = make_batch(generator, indices=[0, 1, 2, 0, 1, 2])
    layer = NativeLayer(LayerWeights(batch.a, batch.b))
    groups = TokenGroups.from_indices(batch.indices)
    rows = {"y": batch.y, "x": batch.x} | {short: getattr(batch, short)[:2]}
    settings = {"scale": 1.0, "offset": 0, "add_inputs": True}
    library = SimpleNamespace(sk_grouped_lora=trap)
    with pytest.raises(ShapeError, match="the batch has 6 tokens"):
        native_grouped_lora(library, rows["y"], rows["x"], layer, groups.native, **settings)
    with pytest.raises(ShapeError, match="the batch has 6 tokens"):
        grouped_expand(rows["y"], [rows["x"][:, :8]], batch.b, batch.widths, groups)
    if short == "x":
        with pytest.raises(ShapeError, match="the batch has 6 tokens"):
            grouped_shrink(rows["x"], batch.a, groups, scale=1.0, dtype=torch.float32)


class TestBuild:
    @pytest.fixture(autouse=True)
    def fresh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        native.load.cache_clear()
        yield
        native.load.cache_clear()

    def test_without_a_compiler_torch_is_used(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        assert native.load() is None

    def test_asked_for_and_impossible_is_an_error(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setenv("SWITCHBOARD_KERNELS_NATIVE", "on")
        with pytest.raises(BuildError, match="SWITCHBOARD_KERNELS_NATIVE=on"):
            native.load()

    def test_a_compiler_that_fails_is_named(self, monkeypatch):
        monkeypatch.setenv("CXX", "false")
        monkeypatch.setenv("SWITCHBOARD_KERNELS_NATIVE", "on")
        with pytest.raises(BuildError, match=r"AVX2|false failed"):
            native.load()

    def test_switched_off_builds_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SWITCHBOARD_KERNELS_NATIVE", "off")
        assert native.load() is None
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler or no AVX2")
    def test_the_build_is_kept(self, tmp_path):
        assert isinstance(native.load(), ctypes.CDLL)
        built = list(tmp_path.rglob("*.so"))
        native.load.cache_clear()
        native.load()
        assert len(built) == 1
        assert list(tmp_path.rglob("*.so")) == built
