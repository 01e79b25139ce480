"""What a line of a file must be, and how its faults are named."""

import io
import json
from typing import Any

import pytest

from serving.files import lines

LIMIT = 4096


def examined(purpose: lines.Purpose, *values: Any) -> lines.Examined:
    raw = [v if isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    file = io.BytesIO(b"\n".join(raw))
    return lines.examine(purpose, lines.bounded(file, LIMIT), LIMIT)


def asked(id_: str, **fields: Any) -> dict[str, Any]:
    url = "/v1/chat/completions"
    return {"custom_id": id_, "method": "POST", "url": url, "body": {"model": "care"}} | fields


def message(role: str, content: Any = "hello") -> dict[str, Any]:
    return {"role": role, "content": content}


def preference(**fields: Any) -> dict[str, Any]:
    return {
        "input": {"messages": [message("user")]},
        "preferred_output": [message("assistant", "good")],
        "non_preferred_output": [message("assistant", "bad")],
    } | fields


def test_a_batch_names_its_lines_and_the_endpoints_that_they_ask() -> None:
    found = examined("batch", asked("a"), b"", asked("b", url="/v1/summaries"), b"")
    assert (found.lines, found.faults) == (2, [])
    assert found.urls == {"/v1/chat/completions", "/v1/summaries"}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "no JSON object: it is not valid JSON"),
        (b"[]", "no JSON object"),
        (b'{"a": NaN}', "no JSON object"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "nests deeper"),
        (asked("first"), "custom_id 'first' is not unique"),
        (asked(""), "custom_id"),
        ({"method": "POST", "url": "/v1/responses", "body": {}}, "custom_id"),
        (asked("b", method="GET"), "method"),
        (asked("b", url="/v1/embeddings"), "url must be one of /v1/chat/completions"),
        (asked("b", url=["/v1/responses"]), "url"),
        (asked("b", body="hello"), "body must be an object"),
        (asked("b", body={"stream": True}), "body.stream"),
        (asked("b", more=1), "more is unknown"),
        (asked("b", body={"x": "y" * LIMIT}), f"longer than {LIMIT} bytes"),
    ],
)
def test_a_faulty_line_of_a_batch_is_named_by_its_number(line: Any, what: str) -> None:
    found = examined("batch", asked("first"), b"", line, asked("last"))
    assert [number for number, _ in found.faults] == [3]
    assert what in found.faults[0][1]
    assert lines.refusal(found.faults).startswith("line 3: ")


def test_the_first_faults_are_named_and_then_it_stops() -> None:
    found = examined("batch", *([b"x"] * 50))
    assert [number for number, _ in found.faults] == list(range(1, 11))
    assert "not looked at" in lines.refusal(found.faults)


@pytest.mark.parametrize("purpose", lines.PURPOSES)
def test_an_empty_file_is_refused(purpose: lines.Purpose) -> None:
    assert examined(purpose).faults
    assert examined(purpose, b"", b"").faults


def test_a_batch_has_a_greatest_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BATCH_LINES_LIMIT", 2)
    assert not examined("batch", asked("a"), asked("b")).faults
    assert examined("batch", asked("a"), asked("b"), asked("c")).faults[0][0] == 3


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [message("system"), message("user"), message("assistant")]},
        {"messages": [message("user"), {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        {"messages": [message("user", [{"type": "text"}]), message("assistant")], "tools": []},
        {"messages": [message("user"), message("assistant")], "label": False},
        preference(),
    ],
)
def test_chats_and_preferences_are_training_data(line: dict[str, Any]) -> None:
    assert examined("fine-tune", line, line).faults == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"text": "hello"}, "neither messages nor input"),
        ({"messages": []}, "messages must be a list"),
        ({"messages": [message("user")]}, "end with the assistant"),
        ({"messages": [message("boss")]}, "messages[0]"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "user"}, message("assistant")]}, "messages[0].content"),
        ({"messages": [message("user"), message("assistant", "")]}, "messages[1].content"),
        ({"messages": [message("user"), message("assistant")], "label": 1}, "label must be true"),
        ({"messages": [message("user"), message("assistant")], "labels": 1}, "labels is unknown"),
        (preference(input="hello"), "input must be an object"),
        (preference(input={"messages": [message("assistant")]}), "must not end"),
        (preference(preferred_output=None), "preferred_output"),
        (preference(non_preferred_output=[message("user")]), "non_preferred_output"),
    ],
)
def test_other_training_data_is_refused(line: dict[str, Any], what: str) -> None:
    found = examined("fine-tune", line)
    assert len(found.faults) == 1
    assert what in found.faults[0][1]


def test_a_file_holds_one_kind_of_training_data() -> None:
    chat = {"messages": [message("user"), message("assistant")]}
    assert [number for number, _ in examined("fine-tune", chat, preference()).faults] == [2]


def test_a_line_of_any_length_is_never_held_whole() -> None:
    class Counting(io.BytesIO):
        longest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            self.longest = max(self.longest, len(line))
            return line

    file = Counting(b"x" * 1_000_000 + b"\nshort\n" + b"y" * LIMIT + b"\r\nlast")
    found = list(lines.bounded(file, LIMIT))
    assert found == [None, b"short\n", b"y" * LIMIT + b"\r\n", b"last"]
    assert file.longest <= LIMIT + 2
