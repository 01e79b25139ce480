import copy

import pytest
import torch
from lora_batches import HAS_GPU

from switchboard_kernels.errors import ShapeError
from switchboard_kernels.fused_lora_linear import fused_lora_linear, patch_peft, unpatch_peft
from switchboard_kernels.fused_lora_linear.reference import fused_lora_linear_reference

peft = pytest.importorskip("peft", reason="needs PEFT")


def make(generator, *, rows=(2, 5), hidden=12, columns=9, rank=3, dtype=torch.float64):
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "x": random(*rows, hidden).requires_grad_(),
        "weight": random(columns, hidden),
        "bias": random(columns),
        "a": random(rank, hidden).requires_grad_(),
        "b": random(columns, rank).requires_grad_(),
        "scale": 0.7,
    }


@pytest.mark.parametrize("rows", [(1,), (7,), (2, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_outputs_and_gradients_equal_the_reference(generator, rows, bias):
    given = make(generator, rows=rows)
    given["bias"] = given["bias"] if bias else None
    wanted = ("x", "a", "b")
    results = []
    for function in (fused_lora_linear, fused_lora_linear_reference):
        y = function(**given)
        loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
        results.append([y, *torch.autograd.grad(loss, [given[name] for name in wanted])])
    for ours, expected in zip(*results, strict=True):
        assert torch.allclose(ours, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_are_the_derivative(generator, dropout):
    given = make(generator)
    mask = torch.rand(given["x"].shape, generator=generator) > dropout if dropout else None

    def function(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return fused_lora_linear(
            x, given["weight"], given["bias"], a, b, 0.7, dropout=dropout, mask=mask
        )

    assert torch.autograd.gradcheck(function, (given["x"], given["a"], given["b"]))


def test_dropout_equals_the_reference_with_the_same_mask(generator):
    given = make(generator)
    mask = torch.rand(given["x"].shape, generator=generator) > 0.3
    ours = fused_lora_linear(**given, dropout=0.3, mask=mask)
    expected = fused_lora_linear_reference(**given, mask=mask, dropout=0.3)
    assert torch.allclose(ours, expected, atol=1e-12)


def test_dropout_drops_the_low_rank_path_at_its_rate_only():
    x = torch.ones(200, 50)
    a, b = torch.ones(1, 50), torch.ones(1, 1)
    torch.manual_seed(0)
    y = fused_lora_linear(x, torch.zeros(1, 50), None, a, b, 1.0, dropout=0.25)
    assert y.mean() == pytest.approx(50, rel=0.02)
    assert len(y.unique()) > 5


@pytest.mark.parametrize("frozen", ["x", "a", "b"])
def test_inputs_without_gradient_are_left_out(generator, frozen):
    given = make(generator)
    given[frozen] = given[frozen].detach()
    fused_lora_linear(**given).sum().backward()
    assert given[frozen].grad is None
    assert all(given[name].grad is not None for name in {"x", "a", "b"} - {frozen})


def test_non_contiguous_inputs_and_gradients(generator):
    given = make(generator, rows=(6,))
    given["x"] = given["x"].detach().t().contiguous().t().requires_grad_()
    y = fused_lora_linear(**given)
    upstream = torch.randn(y.shape[::-1], generator=generator, dtype=y.dtype).t()
    ours = torch.autograd.grad(y, given["x"], upstream)[0]
    expected = torch.autograd.grad(fused_lora_linear_reference(**given), given["x"], upstream)[0]
    assert torch.allclose(ours, expected, atol=1e-12)


def test_bfloat16_stays_within_its_rounding(generator):
    exact = make(generator, rows=(40,), hidden=64, columns=48, rank=8)
    rounded = {
        name: value.detach().bfloat16().requires_grad_(value.requires_grad)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in exact.items()
    }
    y, expected = fused_lora_linear(**rounded), fused_lora_linear_reference(**exact)
    assert (y.double() - expected).norm() / expected.norm() < 0.01
    y.sum().backward()
    expected.sum().backward()
    for name in ("x", "a", "b"):
        error = (rounded[name].grad.double() - exact[name].grad).norm() / exact[name].grad.norm()
        assert error < 0.02, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": torch.zeros(3, 11, dtype=torch.float64)}, "must be"),
        ({"weight": torch.zeros(9, 11, dtype=torch.float64)}, "must be"),
        ({"a": torch.zeros(3, 12)}, "give one type"),
        ({"weight": torch.zeros(9, 12, dtype=torch.float64, requires_grad=True)}, "frozen"),
        ({"dropout": 1.0}, "give a probability"),
    ],
)
def test_what_does_not_fit_is_refused(generator, change, message):
    with pytest.raises(ShapeError, match=message):
        fused_lora_linear(**(make(generator) | change))


def make_peft(dtype: torch.dtype = torch.float64, **options) -> torch.nn.Module:
    torch.manual_seed(5)
    net = torch.nn.Sequential()
    net.add_module("first", torch.nn.Linear(12, 16))
    net.add_module("act", torch.nn.Tanh())
    net.add_module("second", torch.nn.Linear(16, 4, bias=False))
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules=["first", "second"], init_lora_weights=False, **options
    )
    return peft.get_peft_model(net.to(dtype), config).to(dtype)


def gradients(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return y.detach(), [x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


class TestPeft:
    def test_gradients_equal_pefts(self, generator):
        model = make_peft()
        fused = copy.deepcopy(model)
        assert patch_peft(fused) == 2
        x = torch.randn(6, 12, generator=generator, dtype=torch.float64)
        (y, grads), (expected, expected_grads) = gradients(fused, x), gradients(model, x)
        assert torch.allclose(y, expected, atol=1e-12)
        assert len(grads) == 5
        for ours, theirs in zip(grads, expected_grads, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-12)

    def test_patching_twice_counts_but_wraps_once_and_can_be_undone(self):
        model = make_peft()
        assert patch_peft(model) == patch_peft(model) == 2
        assert unpatch_peft(model) == 2
        assert unpatch_peft(model) == 0

    def test_evaluation_does_not_drop(self, generator):
        model = make_peft(lora_dropout=0.5).eval()
        x = torch.randn(6, 12, generator=generator, dtype=torch.float64)
        expected = model(x)
        patch_peft(model)
        assert torch.allclose(model(x), expected, atol=1e-12)
        model.train()
        assert not torch.allclose(model(x), expected, atol=1e-3)

    @pytest.mark.filterwarnings("ignore:`lora_bias=True`")
    @pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}], ids=str)
    def test_other_variants_run_pefts_forward(self, generator, options):
        model = make_peft(**options)
        x = torch.randn(6, 12, generator=generator, dtype=torch.float64)
        _, expected = gradients(model, x)
        model.zero_grad()
        patch_peft(model)
        for ours, theirs in zip(gradients(model, x)[1], expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-12)

    def test_disabled_and_merged_adapters(self, generator):
        model = make_peft()
        patch_peft(model)
        x = torch.randn(6, 12, generator=generator, dtype=torch.float64)
        active = model(x)
        with model.disable_adapter():
            assert not torch.allclose(model(x), active)
        model.merge_adapter()
        assert torch.allclose(model(x), active, atol=1e-12)

    def test_under_autocast(self, generator):
        model = make_peft(torch.float32)
        fused = copy.deepcopy(model)
        patch_peft(fused)
        x = torch.randn(6, 12, generator=generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            expected, ours = model(x), fused(x)
        assert ours.dtype == expected.dtype == torch.bfloat16
        assert torch.allclose(ours.float(), expected.float(), atol=0.1)
        ours.float().sum().backward()
        assert all(p.grad.dtype == torch.float32 for p in fused.parameters() if p.requires_grad)

    def test_float32_adapters_beside_a_bfloat16_base(self, generator):
        model = make_peft(torch.bfloat16)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
        fused = copy.deepcopy(model)
        patch_peft(fused)
        x = torch.randn(6, 12, generator=generator).bfloat16()
        (y, grads), (expected, expected_grads) = gradients(fused, x), gradients(model, x)
        assert y.dtype == expected.dtype == torch.bfloat16
        for ours, theirs in zip(grads, expected_grads, strict=True):
            assert ours.dtype == theirs.dtype
            assert (ours - theirs).float().norm() / theirs.float().norm() < 0.03

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    @pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
    def test_a_4bit_base(self, generator):
        bnb = pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
        torch.manual_seed(5)
        net = torch.nn.Sequential()
        net.add_module("only", bnb.nn.Linear4bit(64, 64, compute_dtype=torch.float32))
        if HAS_GPU:
            net.cuda()
        else:
            net.to("cpu")
        if getattr(net.only.weight, "quant_state", None) is None:
            pytest.skip("this bitsandbytes does not quantize on the CPU")
        config = peft.LoraConfig(r=4, target_modules=["only"], init_lora_weights=False)
        model = peft.get_peft_model(net, config)
        x = torch.randn(6, 64, generator=generator).to(net.only.weight.device)
        _, expected = gradients(model, x)
        model.zero_grad()
        assert patch_peft(model) == 1
        _, ours = gradients(model, x)
        for mine, theirs in zip(ours, expected, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-3, rtol=1e-3)
