"""What a task request was rendered from is read of its interaction, where it is there."""

from typing import Any

import pytest

from serving.adapters import prompts
from tests.training.records import labelled, suggested
from training.data.forms import asked

TEXT = "{% block user %}{% for t in turns %}{{ t.text }} {% endfor %}{{ previous }}{% endblock %}"
PROMPT = prompts.parse({"suggestion": TEXT}, "care@1")["suggestion"]


def test_turns_and_the_prompt_s_hash_are_read() -> None:
    found = asked.of(suggested("i1", prompt=PROMPT).interaction)
    turns = [{"role": "customer", "text": "conversation i1"}]
    assert found == {"prompt": "suggestion", "hash": PROMPT.hash, "turns": turns}


def test_rows_of_before_turns_were_stored_say_nothing() -> None:
    assert asked.of(suggested("i1", prompt=PROMPT, turns=False).interaction) is None
    assert asked.of(labelled("i1").interaction) is None


@pytest.mark.parametrize("previous", [{"turns": 4}, None, "text"])
def test_a_previous_summary_without_its_text_is_none(previous: Any) -> None:
    turns = [{"role": "customer", "text": "a"}]
    request = {"conversation": turns, "previous": previous}
    found = asked.of(suggested("i1", prompt=PROMPT, request=request).interaction)
    assert found is not None
    assert "previous" not in found


def test_all_of_its_texts_go_through_redaction_and_back() -> None:
    request = {
        "conversation": [{"role": "knowledge", "text": "b", "passage": "p1"}],
        "previous": {"turns": 4, "summary": "a"},
        "continue_final_message": True,
        "for": "handover",
        "structured": "both",
    }
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Dear"}]
    row = suggested("i1", prompt=PROMPT, request=request, messages=messages).interaction
    found = asked.of(row)
    assert found is not None
    assert asked.texts(found) == ["b", "a", "Dear"]
    changed = asked.with_texts(found, ["B", "A", "DEAR"])
    assert changed == {
        "prompt": "handover",
        "hash": PROMPT.hash,
        "turns": [{"role": "knowledge", "text": "B", "passage": "p1"}],
        "previous": "A",
        "structured": "both",
        "draft": "DEAR",
    }
    assert asked.with_texts(None, []) is None
