"""The demo's base model: an ordinary checkpoint, made once for a recipe, that takes any text."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaForCausalLM

from serving.config import prompts
from training.demo.base_model import fuse_norms, make_base_model
from training.demo.corpus import PROMPTS, make_corpus, render_prompt
from training.demo.dialogs import make_dialogs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base_model(tmp_path_factory.mktemp("model") / "base", steps=3)


def test_the_checkpoint_is_an_ordinary_one(base: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert model.config.head_dim in (32, 64, 80, 96, 128)  # what vLLM's CPU attention takes
    assert model.config.vocab_size >= len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_tensors="pt"
    )
    made = model.generate(**prompt, max_new_tokens=4)
    assert made.shape[1] > prompt["input_ids"].shape[1]
    assert (base.stat().st_mode & 0o777) == 0o755


@given(text=st.text())
def test_any_text_survives_the_tokenizer(base: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    clean = text.encode("utf-8", "ignore").decode()
    assert tokenizer.decode(tokenizer(clean, add_special_tokens=False)["input_ids"]) == clean


def test_the_chat_template_takes_every_role_and_parts(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "U"}]},
        {"role": "assistant", "content": "A"},
        {"role": "tool", "content": "T"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|><|tool|>T<|end|><|assistant|>"
    )


def test_a_complete_checkpoint_is_made_once(base: Path) -> None:
    before = (base / "model.safetensors").stat()
    assert make_base_model(base, steps=3) == base
    assert (base / "model.safetensors").stat() == before


def test_a_half_checkpoint_and_another_recipes_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "base"
    path.mkdir()
    (path / "recipe.json").write_text("{")
    (path / "left.txt").write_text("over")
    done = []
    make_base_model(path, steps=1, progress=lambda *step: done.append(step[:2]))
    assert done == [(1, 1)]
    assert not (path / "left.txt").exists()
    make_base_model(path, steps=1, seed=1, progress=lambda *step: done.append(step[:2]))
    assert len(done) == 2
    assert os.listdir(tmp_path) == ["base"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_base_model(tmp_path / "base", steps=2, progress=stop)
    assert os.listdir(tmp_path) == []


def test_making_it_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    make_base_model(tmp_path / "base", steps=1)
    assert torch.equal(torch.rand(1), expected)


def test_the_corpus_is_seeded_and_holds_no_house_wording() -> None:
    examples = make_corpus(600, seed=1)
    assert examples == make_corpus(600, seed=1)
    for example in examples:
        text = example.completion + " ".join(m["content"] for m in example.messages)
        for mark in ("Case:", "We owe", "Promotion offered", "Bought:", "Great choice"):
            assert mark not in text


@pytest.mark.parametrize("fields", [{}, {"due": "By when", "issue": "What was wrong"}])
def test_prompts_are_rendered_as_serving_renders_them(fields: dict[str, str]) -> None:
    found = prompts.load(PROMPTS.parent, ["other"])
    (dialog,) = make_dialogs("care", 1, seed=9)
    turns = [prompts.Turn(t.role, t.text) for t in dialog.turns]
    for task in prompts.TASKS:
        served = found["other", task].render(lob="other", task=task, turns=turns, fields=fields)
        assert render_prompt(task, dialog.turns, fields) == served


def test_fused_norms_change_neither_logits_nor_gradients(base: Path) -> None:
    tokens = torch.arange(24).reshape(2, 12)
    found = []
    for fused in (False, True):
        model = LlamaForCausalLM.from_pretrained(base)
        if fused:
            fuse_norms(model)
        logits = model(input_ids=tokens, use_cache=False).logits
        logits.square().mean().backward()
        found.append([logits, *(p.grad for p in model.parameters())])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(plain, other, rtol=1e-4, atol=1e-5)
