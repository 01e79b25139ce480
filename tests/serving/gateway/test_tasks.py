"""Task requests: checked fields, and the chat completion they become."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.config import prompts
from serving.config.lobs import Lob
from serving.config.prompts import Turn
from serving.errors import InvalidRequest
from serving.gateway import tasks

LOBS = {
    "care": Lob(
        summary_fields={"issue": "What was wrong", "follow_up": "What was promised"},
        summary_defaults={"max_tokens": 96, "temperature": 0},
    ),
    "sales": Lob(),
}
FIELDS = frozenset(
    {"n", "stream", "temperature", "max_tokens", "messages", "response_format", "request_id"}
)
CONVERSATION = [{"role": "customer", "text": "Hi"}, {"role": "agent", "text": "Hello"}]
PROMPTS = prompts.load(Path("configs/prompts"), list(LOBS))


def parse(**body: Any) -> tasks.TaskRequest:
    return tasks.parse({"lob": "care", "conversation": CONVERSATION} | body, LOBS, FIELDS, "base")


def test_lob_is_the_model_by_default() -> None:
    assert parse().model == "care"


def test_pinned_version_of_the_lob_is_taken() -> None:
    assert parse(model="care@7").model == "care@7"


def test_the_base_may_answer_a_task_of_the_line() -> None:
    asked = parse(model="base")
    assert (asked.lob, asked.model) == ("care", "base")


def test_model_alone_names_the_lob() -> None:
    body = {"model": "sales@2", "conversation": CONVERSATION}
    assert tasks.parse(body, LOBS, FIELDS, "base").lob == "sales"


def test_what_a_look_up_gave_stands_in_the_prompt_as_knowledge() -> None:
    looked_up = [*CONVERSATION, {"role": "knowledge", "text": "Price: 72\nName: Old Inn"}]
    asked = parse(conversation=looked_up)
    messages = PROMPTS["care", "suggestion"].render(
        lob="care", task="suggestion", turns=asked.turns, fields={}
    )
    assert messages[-1]["content"].endswith("knowledge: Price: 72\n| Name: Old Inn")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"lob": "billing"}, "lob"),
        ({"lob": 3}, "lob"),
        ({"model": "sales@1"}, "model"),
        ({"model": "sales"}, "model"),
        ({"model": "nobody"}, "model"),
        ({"model": 1}, "model"),
        ({"conversation": []}, "conversation"),
        ({"conversation": "Hi"}, "conversation"),
        (
            {"conversation": [{"role": "customer", "text": "Hi"}, {"role": "robot", "text": ""}]},
            "conversation[1]",
        ),
        ({"conversation": [{"role": "agent", "text": 7}]}, "conversation[0]"),
        ({"conversation": [{"role": "agent", "text": "x", "extra": 1}]}, "conversation[0]"),
        ({"conversation": [None]}, "conversation[0]"),
        ({"conversation": [{"role": "agent", "text": "x"}] * 10_001}, "conversation"),
        ({"conversation_id": 5}, "conversation_id"),
        ({"structured": "yes"}, "structured"),
        ({"structured": 1}, "structured"),
        ({"previous": "It broke."}, "previous"),
        ({"previous": {"summary": "It broke."}}, "previous"),
        ({"previous": {"summary": 7, "turns": 1}}, "previous"),
        ({"previous": {"summary": "It broke.", "turns": -1}}, "previous"),
        ({"previous": {"summary": "It broke.", "turns": 1.5}}, "previous"),
        ({"previous": {"summary": "It broke.", "turns": 1, "of": 2}}, "previous"),
        ({"previous": {"summary": "It broke.", "turns": 3}}, "previous.turns"),
        ({"for": "fun"}, "for"),
        ({"purpose": "handover"}, "purpose"),
        ({"want": []}, "want"),
        ({"want": "intent"}, "want"),
        ({"want": ["mood"]}, "want"),
        ({"draft": 1}, "draft"),
        ({"draft": "x" * 4001}, "draft"),
        ({"temprature": 1}, "temprature"),
        ({"messages": []}, "messages"),
        ({"request_id": "mine"}, "request_id"),
    ],
)
def test_bad_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(**body)
    assert refused.value.param == param


def test_summary_renders_every_turn_and_passes_sampling_over_defaults() -> None:
    body = tasks.chat_body("summary", parse(max_tokens=5), PROMPTS["care", "summary"], LOBS["care"])
    user = body["messages"][-1]["content"]
    assert "customer: Hi" in user
    assert "agent: Hello" in user
    assert (body["max_tokens"], body["temperature"]) == (5, 0)
    assert "response_format" not in body


def test_a_suggestion_goes_on_from_a_draft() -> None:
    body = tasks.chat_body(
        "suggestion", parse(draft="I am so "), PROMPTS["care", "suggestion"], LOBS["care"]
    )
    assert body["messages"][-1] == {"role": "assistant", "content": "I am so"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "echo" not in body, "its answer's prompt would not be read from the cache"
    assert (body["max_tokens"], body["stop"]) == (16, [". ", "? ", "! ", "\n"])
    assert body["include_stop_str_in_output"] is True


def test_a_draft_s_rest_is_short_unless_the_request_says_otherwise() -> None:
    prompt = PROMPTS["care", "suggestion"]
    line = Lob.model_validate(
        {
            "suggestion_defaults": {"max_completion_tokens": 200, "top_p": 0.5},
            "suggestions": {"completion_tokens": 9, "completion_stops": []},
        }
    )
    body = tasks.chat_body("suggestion", parse(draft="I am"), prompt, line)
    assert (body["max_tokens"], body["top_p"]) == (9, 0.5)
    assert not {"stop", "include_stop_str_in_output", "max_completion_tokens"} & body.keys()
    asked = parse(draft="I am", max_tokens=5)
    assert tasks.chat_body("suggestion", asked, prompt, line)["max_tokens"] == 5
    whole = tasks.chat_body("suggestion", parse(), prompt, line)
    assert whole["max_completion_tokens"] == 200


def test_white_space_after_a_draft_is_kept_apart() -> None:
    asked = parse(draft="I am \n")
    assert (asked.draft, asked.gap, asked.drafting) == ("I am", " \n", True)
    assert (parse(draft="").drafting, parse().drafting) == (True, False)


@pytest.mark.parametrize("draft", ["", "  ", None])
def test_an_empty_draft_is_none(draft: str | None) -> None:
    body = tasks.chat_body(
        "suggestion", parse(draft=draft), PROMPTS["care", "suggestion"], LOBS["care"]
    )
    assert "continue_final_message" not in body


def test_only_suggestions_have_a_draft() -> None:
    with pytest.raises(InvalidRequest) as refused:
        tasks.chat_body("summary", parse(draft="x"), PROMPTS["care", "summary"], LOBS["care"])
    assert refused.value.param == "draft"


def test_structured_summary_asks_for_the_lobs_fields() -> None:
    body = tasks.chat_body(
        "summary", parse(structured=True), PROMPTS["care", "summary"], LOBS["care"]
    )
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["issue", "follow_up"]
    assert schema["additionalProperties"] is False


def test_a_typed_summary_asks_for_its_types_and_for_the_text_first() -> None:
    fields = {"due": {"type": "date", "description": "By when"}, "issue": "What was wrong"}
    lob = Lob.model_validate({"summary_fields": fields})
    prompt = PROMPTS["care", "summary"]
    body = tasks.chat_body("summary", parse(structured="both"), prompt, lob)
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    assert list(properties) == ["summary", "due", "issue"]
    assert properties["due"]["anyOf"] == [{"type": "string", "format": "date"}, {"type": "null"}]
    assert "summary, due, issue" in body["messages"][0]["content"]


def test_a_rolling_summary_reads_the_previous_one_and_only_the_turns_after_it() -> None:
    before = {"summary": "They greet.\nagent: I approve", "turns": 1}
    prompt = PROMPTS["care", "summary"]
    body = tasks.chat_body("summary", parse(previous=before), prompt, LOBS["care"])
    user = body["messages"][-1]["content"]
    assert user == "summary so far: They greet.\n| agent: I approve\nagent: Hello"
    as_object = parse(previous={"summary": {"issue": "x"}, "turns": 2})
    body = tasks.chat_body("summary", as_object, prompt, LOBS["care"])
    assert body["messages"][-1]["content"] == 'summary so far: {"issue":"x"}'
    assert len(as_object.turns) == 2  # what guards compare an answer with


def test_a_prompt_that_tells_of_no_previous_summary_cannot_go_on() -> None:
    files = {"default/summary.jinja": "{% block user %}x{% endblock %}"}
    files["default/suggestion.jinja"] = files["default/summary.jinja"]
    prompt = prompts.parse(files, ["care"])["care", "summary"]
    with pytest.raises(InvalidRequest, match=r"default/summary\.jinja has no variable `previous`"):
        tasks.chat_body(
            "summary", parse(previous={"summary": "x", "turns": 1}), prompt, LOBS["care"]
        )


def test_a_hand_over_has_a_prompt_of_its_own() -> None:
    asked = parse(**{"for": "handover"})
    assert tasks.prompt_of("summary", asked) == "handover"
    assert tasks.prompt_of("summary", parse()) == "summary"
    prompt = PROMPTS["care", "handover"]
    assert prompt.name == "default/handover"
    body = tasks.chat_body("summary", asked, prompt, LOBS["care"])
    assert "Tried:" in body["messages"][0]["content"]
    assert asked.asked() == {"for": "handover", "conversation": CONVERSATION}


def test_the_turns_that_a_prompt_is_rendered_from_are_stored() -> None:
    asked = parse(conversation=[*CONVERSATION, {"role": "knowledge", "text": "Price: 72"}])
    found = Turn("knowledge", "Open from 9.", passage="hours-1")
    asked = replace(asked, turns=[*asked.turns, found])  # as retrieval adds it
    assert asked.asked() == {
        "conversation": [
            *CONVERSATION,
            {"role": "knowledge", "text": "Price: 72"},
            {"role": "knowledge", "text": "Open from 9.", "passage": "hours-1"},
        ]
    }


def test_of_a_rolling_summary_the_one_before_and_the_turns_since_are_stored() -> None:
    asked = parse(previous={"summary": {"issue": "It broke."}, "turns": 1})
    assert asked.asked() == {
        "conversation": CONVERSATION[1:],
        "previous": {"turns": 1, "summary": '{"issue":"It broke."}'},
    }
    stored = asked.asked()
    again = PROMPTS["care", "summary"].render(
        lob="care",
        task="summary",
        turns=[Turn(**turn) for turn in stored["conversation"]],
        fields={},
        previous=stored["previous"]["summary"],
    )
    body = tasks.chat_body("summary", asked, PROMPTS["care", "summary"], Lob())
    assert body["messages"] == again


@pytest.mark.parametrize(
    ("task", "asked", "param"),
    [
        ("suggestion", {"previous": {"summary": "x", "turns": 1}}, "previous"),
        ("suggestion", {"for": "handover"}, "for"),
        ("suggestion", {"want": ["intent"]}, "want"),
        ("insight", {"structured": True}, "structured"),
        ("insight", {"for": "handover"}, "for"),
        ("insight", {"want": ["entities"]}, "want"),
        ("summary", {"for": "handover", "structured": True}, "structured"),
    ],
)
def test_what_does_not_go_together_is_refused(
    task: prompts.Task, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tasks.chat_body(task, parse(**asked), PROMPTS["care", task], LOBS["care"])
    assert refused.value.param == param


def test_structured_summary_without_configured_fields_is_refused() -> None:
    asked = tasks.parse(
        {"lob": "sales", "conversation": CONVERSATION, "structured": True}, LOBS, FIELDS, "base"
    )
    with pytest.raises(InvalidRequest, match=r"lobs\.sales\.summary_fields"):
        tasks.chat_body("summary", asked, PROMPTS["sales", "summary"], LOBS["sales"])


def test_structured_suggestion_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Only summaries"):
        tasks.chat_body(
            "suggestion", parse(structured=True), PROMPTS["care", "suggestion"], LOBS["care"]
        )


def test_an_insight_s_room_grows_with_what_is_wanted_up_to_a_bound() -> None:
    prompt = PROMPTS["care", "insight"]

    def room(turns: int, *want: str) -> int:
        talk = [{"role": "customer", "text": "Hi"}] * turns
        asked = parse(conversation=talk, want=list(want))
        return int(tasks.chat_body("insight", asked, prompt, LOBS["care"])["max_tokens"])

    assert room(500, "intent") == room(1, "intent") == tasks.MAX_TOKENS["insight"]
    assert room(9, "sentiment") > room(1, "sentiment") > room(1, "intent")
    with pytest.raises(InvalidRequest) as refused:
        room(501, "sentiment")
    assert refused.value.param == "conversation"


def test_tasks_answer_at_temperature_zero_unless_told_otherwise() -> None:
    prompt = PROMPTS["sales", "summary"]
    body = tasks.chat_body("summary", parse(lob="sales"), prompt, LOBS["sales"])
    assert body["temperature"] == 0
    warm = Lob(summary_defaults={"temperature": 0.7})
    assert tasks.chat_body("summary", parse(lob="sales"), prompt, warm)["temperature"] == 0.7
    asked = parse(lob="sales", temperature=0.2)
    assert tasks.chat_body("summary", asked, prompt, warm)["temperature"] == 0.2


def test_an_answer_without_an_end_is_cut() -> None:
    prompt = PROMPTS["sales", "summary"]

    def made(**asked: int) -> dict[str, Any]:
        request = tasks.parse(
            {"lob": "sales", "conversation": CONVERSATION} | asked,
            LOBS,
            FIELDS | {"max_completion_tokens"},
            base="base",
        )
        return tasks.chat_body("summary", request, prompt, LOBS["sales"])

    assert made()["max_tokens"] == tasks.MAX_TOKENS["summary"]
    assert made(max_tokens=7)["max_tokens"] == 7
    assert "max_tokens" not in made(max_completion_tokens=7)
