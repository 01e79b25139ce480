"""Files of OpenAI's fine-tuning API as examples."""

import json
from typing import Any

import pytest

from training.data.examples import Message
from training.data.formats import fine_tune_files
from training.data.formats.fine_tune_files import Method
from training.errors import DatasetError


def message(role: str, content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


def preference(**fields: Any) -> dict[str, Any]:
    return {
        "input": {"messages": [message("user", "late?")]},
        "preferred_output": [message("assistant", "It is on its way.")],
        "non_preferred_output": [message("assistant", "No.")],
    } | fields


def lines(*rows: Any) -> list[bytes]:
    return [row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows]


CHAT = {"messages": [message("user"), message("assistant", "hi")]}


def test_each_answer_of_a_chat_is_learned_with_the_turns_before_it() -> None:
    chat = [
        message("developer", "Be kind."),
        message("user", [{"type": "text", "text": "Where"}, {"type": "text", "text": "is it?"}]),
        message("assistant", "Your number?", weight=0),
        message("user", "48213"),
        message("assistant", "On its way."),
        message("user", "Thanks."),
        message("assistant", "Welcome.", weight=1),
    ]
    found = fine_tune_files.examples(lines({"messages": chat}, b"\n", CHAT), "supervised", "d1")
    assert [one.target for one in found] == ["On its way.", "Welcome.", "hi"]
    assert [len(one.messages) for one in found] == [4, 6, 1]
    assert found[0].messages[:2] == (
        Message("system", "Be kind."),
        Message("user", "Where\nis it?"),
    )
    assert [one.interaction_id for one in found] == ["file-d1-1-4", "file-d1-1-6", "file-d1-3-1"]
    assert {one.conversation_id for one in found} == {"file-d1-1", "file-d1-3"}
    assert {one.source for one in found} == {"rating"}


def test_a_preference_is_a_pair() -> None:
    (one,) = fine_tune_files.examples(lines(preference()), "dpo", "d")
    assert (one.target, one.shown, one.source) == ("It is on its way.", "No.", "edit")
    assert one.messages == (Message("user", "late?"),)


def test_a_label_says_whether_the_last_answer_is_good() -> None:
    turns = [message("user"), message("assistant", "hm"), message("user"), message("assistant")]
    good, bad = fine_tune_files.examples(
        lines({"messages": turns, "label": True}, {"messages": turns, "label": False}), "kto", "d"
    )
    assert (good.source, bad.source) == ("rating", "rejection")
    assert len(good.messages) == 3
    assert good.target == "hello"


@pytest.mark.parametrize(
    ("method", "row", "what"),
    [
        ("supervised", preference(), "is not a chat, which supervised learns from"),
        ("dpo", CHAT, "is not a preference, which dpo learns from"),
        ("kto", CHAT, "is not a labelled chat"),
        ("supervised", CHAT | {"label": True}, "is not a chat"),
        ("supervised", b"{\n", "is no JSON"),
        ("supervised", b"[1]\n", "is no JSON object"),
        ("supervised", CHAT | {"tools": [{"type": "function"}]}, "tools: calls of tools"),
        ("supervised", {"messages": [message("user")]}, "must end with an answer"),
        ("supervised", {"messages": [message("assistant")]}, "must end with an answer"),
        ("supervised", {"messages": []}, "messages: must be a list"),
        ("supervised", {"messages": ["x"]}, "messages[0]: must be an object"),
        (
            "supervised",
            {"messages": [message("user"), message("assistant", weight=0)]},
            "has the weight 0",
        ),
        (
            "supervised",
            {"messages": [message("user", weight=1), message("assistant")]},
            "messages[0].weight",
        ),
        (
            "supervised",
            {"messages": [message("user", name="Ann"), message("assistant")]},
            "messages[0].name: would change what is learned",
        ),
        ("supervised", {"messages": [message("tool"), message("assistant")]}, "messages[0].role"),
        (
            "supervised",
            {"messages": [message("user", [{"type": "image_url"}]), message("assistant")]},
            "messages[0].content: only parts of text",
        ),
        (
            "supervised",
            {"messages": [message("user", "\ud800"), message("assistant")]},
            "half of a character",
        ),
        ("supervised", {"messages": [message("user", " "), message("assistant")]}, "not empty"),
        ("kto", CHAT | {"label": 1}, "label: must be true or false"),
        ("dpo", preference(input={}), "input.messages: must be a list"),
        ("dpo", preference(preferred_output=[]), "preferred_output: must be a list"),
        (
            "dpo",
            preference(preferred_output=[message("assistant")] * 2),
            "preferred_output: must be one message",
        ),
        ("dpo", preference(non_preferred_output=[message("user")]), "must be one message"),
        (
            "dpo",
            preference(non_preferred_output=[message("assistant", "It is on its way.")]),
            "is the same text",
        ),
    ],
)
def test_what_cannot_be_learned_is_named_by_its_line(method: Method, row: Any, what: str) -> None:
    with pytest.raises(DatasetError) as found:
        fine_tune_files.examples(lines(b"\n", row), method, "d")
    assert found.value.message.startswith("line 2: ")
    assert what in found.value.message


def test_the_first_faults_are_named_together() -> None:
    with pytest.raises(DatasetError) as found:
        fine_tune_files.examples(lines(CHAT, {"x": 1}, CHAT, {"y": 1}), "supervised", "d")
    assert found.value.message.count("line ") == 2
    with pytest.raises(DatasetError, match="Further lines were not looked at"):
        fine_tune_files.examples(lines(*[{"x": 1}] * 50), "supervised", "d")
