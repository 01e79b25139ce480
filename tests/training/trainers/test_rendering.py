"""What training learns from is what the server asks with, token by token."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import chat_template
from serving.untrusted_text import SpecialTokens
from tests.chat_templates import CHATML, ENDS, GEMMA, NAMES, NO_END, QWEN3, R1, tokenizer_of
from training.errors import FineTuneFailed, RenderingDiffers
from training.trainers import rendering
from training.trainers.job import Job
from training.trainers.rendering import IGNORED, Renderer

PROMPT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Where is it?"},
    {"role": "user", "content": "Hello?"},
]


def row(answer: str = "On its way.", **more: Any) -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "completion": [{"role": "assistant", "content": answer}],
        "interaction_id": "chatcmpl-7",
        **more,
    }


def renderer(template: str, **job: Any) -> Renderer:
    made = Job("care", "base", "h", "d", "train.jsonl", "out", {}, **job)
    return Renderer.of(made, tokenizer_of(template))


@pytest.mark.parametrize("template", NAMES.values(), ids=NAMES)
def test_a_prompt_is_that_of_serving_and_an_answer_ends_where_serving_stops(template: str) -> None:
    tokenizer = tokenizer_of(template)
    found = renderer(template).render(row(), "completion", "example 1")
    served = chat_template.probe(tokenizer)
    asked = tokenizer.apply_chat_template(
        [dict(m) for m in served.adapted(PROMPT)],
        add_generation_prompt=True,
        return_dict=True,
        **served.kwargs,
    )
    assert found.prompt == asked["input_ids"]
    assert tokenizer.decode(found.answer) == f"On its way.{ENDS[template]}"
    assert found.labels == [IGNORED] * len(found.prompt) + found.answer
    assert len(found.labels) == len(found)


@pytest.mark.parametrize("template", NAMES.values(), ids=NAMES)
@given(answer=st.text(min_size=1).filter(lambda text: text.strip() and "</think>" not in text))
def test_any_answer_is_learned_whole(template: str, answer: str) -> None:
    tokenizer = tokenizer_of(template)
    found = renderer(template).render(row(answer), "completion", "example 1")
    learned = tokenizer.decode(found.answer)
    broken = SpecialTokens.of(tokenizer).broken(answer)
    assert learned.strip().startswith(broken.strip())
    assert found.answer.count(found.answer[-1]) == 1
    assert learned.endswith(ENDS[template])


def test_the_server_s_template_and_variables_are_used() -> None:
    other = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ sign if m.role == 'system' }}")
    found = renderer(CHATML, chat_template=other, chat_template_kwargs={"sign": "!"})
    text = tokenizer_of(CHATML).decode(found.render(row(), "completion", "example 1").prompt)
    assert "Be kind.!<|im_end|>" in text


def test_a_request_s_own_variables_go_before_the_server_s() -> None:
    template = "Effort {{ reasoning_effort }}. " + CHATML
    found = renderer(CHATML, chat_template=template, chat_template_kwargs={"reasoning_effort": "1"})
    for own, effort in (({}, "1"), ({"chat_template_kwargs": {"reasoning_effort": "2"}}, "2")):
        ids = found.render(row(**own), "completion", "example 1").prompt
        assert tokenizer_of(CHATML).decode(ids).startswith(f"Effort {effort}. ")


def test_a_template_that_ends_no_answer_is_refused() -> None:
    with pytest.raises(FineTuneFailed, match="would never stop"):
        renderer(NO_END)


def test_a_template_that_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(FineTuneFailed, match="cannot be rendered"):
        renderer(CHATML, chat_template="{{ raise_exception('no') }}")


def test_a_base_that_is_served_thinking_is_refused_by_name() -> None:
    with pytest.raises(FineTuneFailed, match=r"default_chat_template_kwargs\.enable_thinking to f"):
        renderer(QWEN3, chat_template_kwargs={"enable_thinking": True})


def test_a_template_that_always_has_the_model_think_is_refused_by_the_example() -> None:
    with pytest.raises(RenderingDiffers, match=r"example chatcmpl-7: .* end in .*<think>"):
        rendering.fitting([row()], ["completion"], renderer(R1), 1000)


def test_words_that_the_template_puts_before_an_answer_are_refused() -> None:
    template = CHATML.replace("{{ m.content }}", "{{ 'So: ' if loop.last }}{{ m.content }}", 1)
    with pytest.raises(RenderingDiffers, match="puts 'So: ' before the answer"):
        rendering.fitting(
            [row()], ["completion"], renderer(CHATML, chat_template=_only_answers(template)), 1000
        )


def test_an_answer_before_whose_end_the_template_puts_something_is_refused() -> None:
    template = CHATML.replace("<|im_end|>", "{{ '?' if m.content != 'answer-7b' }}<|im_end|>", 1)
    found = renderer(CHATML, chat_template=template)
    with pytest.raises(RenderingDiffers, match=r"does not end the answer with '<\|im_end\|>'"):
        rendering.fitting([row()], ["completion"], found, 1000)


def test_an_answer_that_the_template_changes_is_refused() -> None:
    with pytest.raises(RenderingDiffers, match=r"example chatcmpl-7: .*changes the answer's words"):
        rendering.fitting([row("a</think>b")], ["completion"], renderer(QWEN3), 1000)


def test_an_answer_whose_request_had_the_model_think_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thought = row(chat_template_kwargs={"enable_thinking": True})
    with caplog.at_level(logging.WARNING):
        kept, too_long = rendering.fitting([row(), thought], ["completion"], renderer(QWEN3), 1000)
    assert (len(kept), too_long) == (1, 0)
    assert "1 examples are left out" in caplog.text


def test_a_row_is_kept_only_if_all_its_answers_fit() -> None:
    pair = {**row(), "chosen": row()["completion"], "rejected": row("no" * 50)["completion"]}
    found = renderer(GEMMA)
    (kept,), _ = rendering.fitting([pair], ["chosen", "rejected"], found, 1000)
    assert kept.answers["chosen"].prompt == kept.answers["rejected"].prompt
    longest = max(map(len, kept.answers.values()))
    assert kept.tokens == sum(map(len, kept.answers.values()))
    assert rendering.fitting([pair], ["chosen", "rejected"], found, longest)[1] == 0
    assert rendering.fitting([pair], ["chosen", "rejected"], found, longest - 1) == ([], 1)


def _only_answers(template: str) -> str:
    """Return the template with what it puts before the last message only where nothing is asked."""
    return template.replace("if loop.last", "if loop.last and not add_generation_prompt")
