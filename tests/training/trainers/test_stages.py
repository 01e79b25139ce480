"""Each method by the real trainer in the real process; most of the time is its imports."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.validation import check_adapter
from tests.chat_templates import GEMMA
from tests.training.trainers.test_sft import content, wait_for_checkpoint
from training.errors import FineTuneFailed, TooLittleData
from training.execution.local import Worker
from training.recipe.recipe import Recipe
from training.trainers.job import Job, Result
from training.trainers.kto import paired
from training.trainers.stages import joined

pytestmark = pytest.mark.asyncio(loop_scope="session")

STAGE = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "max_length": 128,
    "device": "cpu",
    "threads": 1,
}
MakeJob = Callable[..., Job]


@pytest.fixture(scope="module")
def make_job(tiny_base: Path, train_file: Path, preference_file: Path, kto_file: Path) -> MakeJob:
    def make(method: str, out: Path, *, start: Path | None = None, **sections: Any) -> Job:
        recipe = Recipe.model_validate(
            {
                "method": method,
                "lora": {"rank": 4, "alpha": 8, **sections.pop("lora", {})},
                "sft": {**STAGE, **sections.pop("sft", {})},
                "dpo": {**STAGE, "min_pairs": 4, **sections.pop("dpo", {})},
                "kto": {**STAGE, "min_each": 4, **sections.pop("kto", {})},
                **sections,
            }
        )
        return Job(
            "care",
            str(tiny_base),
            "hash",
            "dataset",
            str(train_file),
            str(out),
            recipe.model_dump(mode="json"),
            str(preference_file),
            str(kto_file),
            str(start) if start else None,
            "care@7" if start else None,
        )

    return make


def advantage(base: Path, adapter: str | None, pairs: Path) -> float:
    """Return the mean of log p(chosen) - log p(rejected) in nats; the adapter is merged by hand."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    weights = load_file(Path(adapter) / "adapter_model.safetensors") if adapter else {}
    for name in weights:
        if name.endswith("lora_A.weight"):
            layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            update = weights[name.replace("lora_A", "lora_B")] @ weights[name]
            model.get_submodule(layer).weight.data += 8 / 4 * update  # alpha / rank

    def log_p(prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> float:
        begin = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        ids = tokenizer.apply_chat_template(prompt + answer, return_dict=True)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        taken = logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        return float(taken[len(begin["input_ids"]) - 1 :].sum())

    rows = [json.loads(line) for line in pairs.read_text().splitlines()[:4]]
    with torch.no_grad():
        gains = [log_p(r["prompt"], r["chosen"]) - log_p(r["prompt"], r["rejected"]) for r in rows]
    return sum(gains) / len(gains)


@pytest.mark.parametrize("method", ["dpo", "kto"])
async def test_a_method_raises_what_is_wanted_and_gives_the_same_servable_bytes_again(
    worker: Worker,
    make_job: MakeJob,
    tiny_base: Path,
    preference_file: Path,
    tmp_path: Path,
    method: str,
) -> None:
    first, again = [await worker.train(make_job(method, tmp_path / name)) for name in ("a", "b")]
    too_long = 1 if method == "dpo" else 0
    assert (first.examples, first.too_long, first.steps) == (16, too_long, 8)
    assert first.margins[0][1] == pytest.approx(0, abs=1e-6)  # the policy begins as the reference
    assert first.margins[-1][1] > 0
    before = advantage(tiny_base, None, preference_file)
    assert advantage(tiny_base, first.adapter, preference_file) > before + 1
    assert check_adapter(Path(first.adapter), base_hash="hash", max_rank=8) == 4
    files = content(first.adapter)
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", "switchboard.json"}
    assert content(again.adapter) == files


async def test_an_answer_is_paired_with_the_prompts_of_its_batch_as_trl_pairs_it() -> None:
    rows = [{"completion_ids": [n]} for n in range(5)]
    assert [row["KL_completion_ids"] for row in paired(rows, 3)] == [[2], [0], [1], [4], [3]]
    assert paired([], 3) == []


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
async def test_every_method_learns_by_the_template_that_the_server_is_given(
    worker: Worker, make_job: MakeJob, tmp_path: Path, method: str
) -> None:
    """It refuses system messages, and its end mark is not the tokenizer's `eos_token`."""
    template = GEMMA.replace("<end_of_turn>", "<|user|>")
    own, given = [
        await worker.train(replace(make_job(method, tmp_path / str(n)), chat_template=text))
        for n, text in enumerate((None, template))
    ]
    assert given.tokens > own.tokens
    assert content(given.adapter) != content(own.adapter)
    never = replace(make_job(method, tmp_path / "c"), chat_template="{{ messages[-1].content }}")
    with pytest.raises(FineTuneFailed, match="would never stop"):
        await worker.train(never)


async def test_dpo_after_sft_takes_the_policy_of_sft_as_its_reference(
    worker: Worker, make_job: MakeJob, tiny_base: Path, preference_file: Path, tmp_path: Path
) -> None:
    result = await worker.train(make_job("sft_dpo", tmp_path))
    assert (result.examples, result.steps, len(result.losses)) == (32, 16, 16)
    assert [step for step, _ in result.margins] == list(range(9, 17))
    # Against the base, or any other reference, the first margin would be far from zero.
    assert result.margins[0][1] == pytest.approx(0, abs=1e-6)
    before = advantage(tiny_base, str(tmp_path / "sft" / "adapter"), preference_file)
    assert advantage(tiny_base, result.adapter, preference_file) > before + 1
    assert set(content(result.adapter)) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "switchboard.json",
    }
    assert check_adapter(Path(result.adapter), base_hash="hash", max_rank=8) == 4


async def test_training_stops_early_and_restores_the_best_checkpoint(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    validation = {"share": 0.3, "steps": 2, "patience": 2}
    rules = {"epochs": 60, "scheduler": "constant", "learning_rate": 5e-2}
    stopped = await worker.train(make_job("dpo", tmp_path / "a", dpo=rules, validation=validation))
    losses = dict(stopped.validation_losses)
    best = min(losses, key=lambda step: losses[step])
    assert stopped.steps == best + 4 < 60 * 3
    assert stopped.validation_loss == losses[best]
    assert stopped.examples < 16
    until_best = await worker.train(
        make_job("dpo", tmp_path / "b", dpo={**rules, "max_steps": best}, validation=validation)
    )
    name = "adapter_model.safetensors"
    assert content(stopped.adapter)[name] == content(until_best.adapter)[name]


async def test_training_goes_on_from_an_adapter_of_the_same_shape_only(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    first = await worker.train(make_job("sft", tmp_path / "a"))
    start = Path(first.adapter)
    second = await worker.train(
        make_job("sft", tmp_path / "b", start=start, sft={"learning_rate": 1e-9})
    )
    assert second.losses[0][1] < first.losses[0][1]
    assert second.losses[0][1] == pytest.approx(second.losses[4][1], rel=0.2)
    assert json.loads(content(second.adapter)["switchboard.json"])["start"] == "care@7"
    for lora in ({"rank": 2}, {"target_modules": ["q_proj"]}):
        with pytest.raises(FineTuneFailed, match="the adapter to start from has other layers"):
            await worker.train(make_job("sft", tmp_path / "c", start=start, lora=lora))


async def test_rslora_is_written_so_that_the_server_scales_by_the_root_of_the_rank(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(
        "sft", tmp_path, lora={"variant": "rslora"}, sft={"gradient_checkpointing": True}
    )
    result = await worker.train(job)
    assert result.losses[-1][1] < result.losses[0][1]
    config = json.loads(content(result.adapter)["adapter_config.json"])
    assert (config["use_rslora"], config["r"], config["lora_alpha"]) == (True, 4, 8)
    assert check_adapter(Path(result.adapter), base_hash="hash", max_rank=8) == 4


async def test_too_little_of_what_a_method_learns_from_names_the_counts(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(TooLittleData, match=r"16 preference pairs \(1 more exceed max_length\)"):
        await worker.train(make_job("dpo", tmp_path / "a", dpo={"min_pairs": 17}))
    with pytest.raises(TooLittleData, match="10 good and 6 bad answers"):
        await worker.train(make_job("kto", tmp_path / "b", kto={"min_each": 7}))


async def test_an_adapter_is_trained_on_a_base_in_four_bits_and_fits_the_whole_one(
    worker: Worker, make_job: MakeJob, tiny_base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="comes with the extra qlora")
    job = make_job("sft", tmp_path, lora={"quantization": "nf4"}, sft={"epochs": 4})
    result = await worker.train(job)
    assert result.losses[-1][1] < result.losses[0][1] - 0.2
    rank = check_adapter(Path(result.adapter), base_hash="hash", max_rank=8, base_folder=tiny_base)
    assert rank == 4


async def test_four_bits_where_there_is_no_gpu_are_refused_unless_the_cpu_is_asked_for(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    job = make_job("sft", tmp_path, lora={"quantization": "nf4"}, sft={"device": "auto"})
    with pytest.raises(FineTuneFailed, match="nf4 needs"):
        await worker.train(job)


@pytest.mark.slow
async def test_a_killed_job_of_each_method_resumes_to_the_same_bytes(
    worker: Worker, make_job: MakeJob, tmp_path: Path
) -> None:
    """The second stage of SFT then DPO with validation, and KTO, are killed side by side."""
    long = {"epochs": 20, "scheduler": "linear"}
    sections = {
        "sft_dpo": {"dpo": long, "validation": {"share": 0.3, "steps": 5, "patience": 50}},
        "kto": {"kto": {**long, "checkpoint_steps": 5}},
    }

    async def killed(method: str) -> None:
        job = make_job(method, tmp_path / f"{method}-killed", **sections[method])
        async with Worker() as victim:
            running = asyncio.create_task(victim.train(job))
            reached = asyncio.to_thread(wait_for_checkpoint, Path(job.out) / "checkpoints")
            await asyncio.wait(
                {running, asyncio.create_task(reached)}, return_when="FIRST_COMPLETED"
            )
            assert not running.done(), running.result()
            assert victim.pid is not None
            os.kill(victim.pid, 9)
            with pytest.raises(FineTuneFailed, match="was killed by signal 9"):
                await running

    await asyncio.gather(*(killed(method) for method in sections))
    for method in sections:
        whole = await worker.train(
            make_job(method, tmp_path / f"{method}-whole", **sections[method])
        )
        job = make_job(method, tmp_path / f"{method}-killed", **sections[method])
        assert list((Path(job.out) / "checkpoints").glob("checkpoint-*"))
        resumed = await worker.train(job)
        assert (resumed.steps, resumed.losses) == (whole.steps, whole.losses)
        assert resumed.validation_losses == whole.validation_losses
        assert content(resumed.adapter) == content(whole.adapter)


async def test_the_figures_of_two_stages_follow_each_other() -> None:
    first = Result("a", 10, 1, 100, 5, 2.0, "cpu", 7, 50, [(5, 1.0)], 0.5, [(5, 0.5)])
    second = Result("b", 4, 2, 30, 3, 1.0, "cpu", 7, 90, [(3, 0.6)], 0.4, [(3, 0.4)], [(3, 0.1)])
    assert joined(first, second) == Result(
        "b", 14, 3, 130, 8, 3.0, "cpu", 7, 90, [(5, 1.0), (8, 0.6)], 0.4, [(8, 0.4)], [(8, 0.1)]
    )
