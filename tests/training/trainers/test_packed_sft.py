"""In a pack an example learns what it learns alone; a step what it learns from a padded batch."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, MistralConfig

from training.execution.local import Worker
from training.recipe.methods import ValidationConfig
from training.recipe.recipe import Recipe
from training.recipe.speed import SpeedConfig
from training.recipe.tracking import TrackingConfig
from training.trainers import packed_attention
from training.trainers.job import Job
from training.trainers.packed_attention import NAME, obstacle

LENGTHS = [5, 17, 1, 9]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    async with Worker() as process:
        yield process


def rows(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, 260, (1, length), generator=generator) for length in LENGTHS]


def load(base: Path) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for weight in model.parameters():  # large enough that attention matters
        weight.data = torch.randn_like(weight) * 0.3
    return model


def packed_logits(model: Any, examples: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    positions = torch.cat([torch.arange(len(row[0])) for row in examples])[None]
    lengths = [len(row[0]) for row in examples]
    logits = model(
        input_ids=torch.cat(examples, dim=1), position_ids=positions, pack_lengths=lengths
    ).logits
    return logits.split(lengths, dim=1)


def loss(logits: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[0, :-1], row[0, 1:], reduction="sum")


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    return found


def test_in_a_pack_each_example_has_the_logits_loss_and_gradients_it_has_alone(
    tiny_base: Path,
) -> None:
    alone, packed = load(tiny_base), load(tiny_base)
    packed_attention.use(packed)
    assert packed.config._attn_implementation == NAME
    assert alone.config._attn_implementation == "sdpa"
    examples = rows()
    together = packed_logits(packed, examples)
    for number, row in enumerate(examples):
        own = alone(input_ids=row).logits
        torch.testing.assert_close(together[number], own, rtol=1e-4, atol=1e-4)
        if len(row[0]) == 1:
            continue
        mine, theirs = loss(together[number], row), loss(own, row)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
        mine.backward(retain_graph=True)
        theirs.backward()
        expected = gradients(alone)
        for name, gradient in gradients(packed).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_an_example_s_logits_do_not_change_with_its_neighbours(tiny_base: Path) -> None:
    model = load(tiny_base)
    packed_attention.use(model)
    examples, others = rows(), rows(seed=1)
    before = packed_logits(model, examples)[1]
    after = packed_logits(model, [others[0], examples[1], *others[2:]])[1]
    assert torch.equal(before, after)
    crossing = model(input_ids=torch.cat(examples, dim=1)).logits.split(LENGTHS, dim=1)[1]
    assert not torch.allclose(before, crossing, atol=0.1)  # so the test can fail


def test_an_attention_that_does_more_than_causal_is_an_obstacle() -> None:
    assert obstacle(LlamaConfig()) is None
    assert obstacle(MistralConfig(sliding_window=None)) is None
    assert obstacle(MistralConfig(sliding_window=64)) is not None
    assert obstacle(Gemma2Config()) is not None


def make_job(base: Path, data: Path, out: Path, recipe: Recipe, **changes: Any) -> Job:
    changed = recipe.model_copy(update=changes)
    dumped = changed.model_dump(mode="json")
    return Job("care", str(base), "hash", "dataset", str(data), str(out), dumped)


@pytest.fixture(scope="module")
def uneven_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 16 examples of 12 to 105 tokens."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    lines = [
        {
            "prompt": [{"role": "user", "content": "hello " * (1 + 3 * n % 16)}],
            "completion": [{"role": "assistant", "content": f"answer {n}"}],
            "conversation_id": f"conversation {n}",
        }
        for n in range(16)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "speed",
    [
        SpeedConfig(),
        SpeedConfig(pack_length=120),
        SpeedConfig(fused_lora=True),
        SpeedConfig(packing=False, fused_lora=True),
    ],
    ids=["one pack", "several packs a step", "fused", "padded and fused"],
)
async def test_the_loss_curve_and_the_adapter_are_those_of_padded_batches(
    speed: SpeedConfig,
    worker: Worker,
    tiny_base: Path,
    uneven_file: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
) -> None:
    changes: dict[str, Any] = {
        "sft": tiny_recipe.sft.model_copy(update={"gradient_accumulation": 2}),
        "validation": ValidationConfig(share=0.3),
    }
    plain, ours = [
        await worker.train(
            make_job(tiny_base, uneven_file, tmp_path / name, tiny_recipe, speed=chosen, **changes)
        )
        for name, chosen in (("plain", SpeedConfig(packing=False)), ("ours", speed))
    ]
    assert ours.steps == plain.steps > 2
    for mine, theirs in (
        (ours.losses, plain.losses),
        (ours.validation_losses, plain.validation_losses),
    ):
        assert [step for step, _ in mine] == [step for step, _ in theirs]
        assert [loss for _, loss in mine] == pytest.approx([loss for _, loss in theirs], rel=1e-4)
    weights, expected = (
        load_file(Path(result.adapter) / "adapter_model.safetensors") for result in (ours, plain)
    )
    # Adam divides by the gradient's size, so where that is near zero rounding decides the sign.
    moved = sum(float(w.norm() ** 2) for w in expected.values()) ** 0.5
    apart = sum(float((weights[n] - w).norm() ** 2) for n, w in expected.items()) ** 0.5
    assert apart < 0.01 * moved


@pytest.mark.asyncio(loop_scope="module")
async def test_tensorboard_holds_the_loss_of_each_step(
    worker: Worker, tiny_base: Path, uneven_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    tracking = TrackingConfig(to="tensorboard", folder=str(tmp_path / "tracking"))
    job = make_job(tiny_base, uneven_file, tmp_path / "run", tiny_recipe, tracking=tracking)
    result = await worker.train(job)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tracking" / "care" / "run-sft"))
    events.Reload()
    read = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert read == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in result.losses]
    assert events.Scalars("train/learning_rate")
