"""What templates take is found by rendering, and chats are formed so that they take them."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import chat_template
from serving.chat_template import ChatTemplate, probe
from serving.errors import ConfigError
from tests.chat_templates import CHATML, ENDS, GEMMA, LLAMA3, MISTRAL, NO_END, QWEN3, tokenizer_of


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


CHATS = st.lists(
    st.builds(
        message,
        st.sampled_from(["system", "user", "assistant"]),
        st.text("ab ", min_size=1)
        | st.lists(st.builds(lambda text: {"type": "text", "text": text}, st.text("ab"))),
    )
)


@pytest.mark.parametrize(
    ("template", "system", "consecutive"),
    [
        (CHATML, True, True),
        (LLAMA3, True, True),
        (GEMMA, False, False),
        (MISTRAL, True, False),
        (QWEN3, True, True),
    ],
)
def test_what_a_template_takes_and_how_it_ends_an_answer_is_found(
    template: str, system: bool, consecutive: bool
) -> None:
    tokenizer = tokenizer_of(template)
    found = probe(tokenizer)
    assert (found.takes_system, found.takes_consecutive) == (system, consecutive)
    assert found.end == ENDS[template]
    assert found.end_id == tokenizer.convert_tokens_to_ids(ENDS[template])


def test_a_template_that_drops_the_system_message_silently_does_not_take_it() -> None:
    drops = CHATML.replace(
        "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
    )
    assert not probe(tokenizer_of(CHATML), drops).takes_system


def test_a_template_without_an_end_mark_has_none() -> None:
    assert probe(tokenizer_of(NO_END)).end_id is None


def test_thinking_is_off_unless_the_configuration_or_the_request_says_otherwise() -> None:
    tokenizer = tokenizer_of(QWEN3)
    quiet, thinks = probe(tokenizer), probe(tokenizer, kwargs={"enable_thinking": True})
    assert quiet.switches == ("enable_thinking",)
    assert (quiet.thinks(), thinks.thinks()) == (False, True)
    assert quiet.thinks({"enable_thinking": True})
    assert not thinks.thinks({"enable_thinking": False})
    asked = quiet.text(tokenizer, [message("user", "hi")], asks=True)
    assert asked.endswith("<think>\n\n</think>\n\n")
    assert probe(tokenizer_of(CHATML)).kwargs == {}


def test_a_system_message_that_is_refused_begins_the_user_s_turn() -> None:
    template = ChatTemplate(takes_system=False)
    chat = [message("system", "Be kind."), message("user", "Hello.")]
    assert template.adapted(chat) == [message("user", "Be kind.\n\nHello.")]
    later = [message("user", "a"), message("system", "b"), message("assistant", "c")]
    assert template.adapted(later) == [message("user", "a\n\nb"), message("assistant", "c")]
    two = [message("user", "a"), message("user", "b")]
    assert template.adapted(two) == two


def test_turns_of_one_role_in_a_row_become_one() -> None:
    template = ChatTemplate(takes_consecutive=False)
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    chat = [message("user", "a"), message("user", image), message("assistant", "c")]
    parts = [{"type": "text", "text": "a"}, *image]
    assert template.adapted(chat) == [message("user", parts), message("assistant", "c")]


def test_tool_calls_and_their_results_are_never_joined() -> None:
    template = ChatTemplate(takes_system=False, takes_consecutive=False)
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    chat = [message("user", "a"), call, message("tool", "1"), message("tool", "2")]
    assert template.adapted(chat) == chat


@given(chat=CHATS, system=st.booleans(), consecutive=st.booleans())
def test_adapting_loses_no_text_and_is_done_once(
    chat: list[dict[str, Any]], system: bool, consecutive: bool
) -> None:
    template = ChatTemplate(takes_system=system, takes_consecutive=consecutive)
    adapted = template.adapted(chat)
    assert template.adapted(adapted) == adapted
    assert words(adapted) == words(chat)
    if system and consecutive:
        assert adapted == chat
    if not system:
        assert not [m for m in adapted if m["role"] == "system"]
    if not consecutive:
        assert all(a["role"] != b["role"] for a, b in itertools.pairwise(adapted))


def words(chat: Any) -> str:
    """Return all that is said, without blanks."""
    texts = [
        content if isinstance(content, str) else "".join(part["text"] for part in content)
        for content in (m["content"] for m in chat)
    ]
    return "".join("".join(texts).split())


@pytest.mark.parametrize("template", [GEMMA, MISTRAL])
@given(roles=st.lists(st.sampled_from(["user", "user", "assistant"]), max_size=5))
def test_a_strict_template_renders_every_chat_that_begins_with_a_user(
    template: str, roles: list[str]
) -> None:
    tokenizer = tokenizer_of(template)
    chat = [message("system", "s0"), message("user", "u0")]
    chat += [message(role, f"{role}{n}") for n, role in enumerate(roles)]
    text = probe(tokenizer).text(tokenizer, chat, asks=True)
    assert all(m["content"] in text for m in chat)


def test_a_body_is_adapted_only_where_it_must_be() -> None:
    plain = {"messages": [message("user", "a")], "temperature": 0}
    strict = ChatTemplate(takes_system=False, takes_consecutive=False)
    assert strict.body(plain) is plain
    system = {"messages": [message("system", "s"), message("user", "a")]}
    assert ChatTemplate().body(system) is system
    assert strict.body(system) == {"messages": [message("user", "s\n\na")]}
    assert system["messages"][0] == message("system", "s")
    for odd in ({"messages": "no list"}, {"messages": [1]}, {"messages": [{}]}, {"prompt": "a"}):
        assert strict.body(odd) is odd


def test_an_engine_that_would_run_past_the_end_mark_is_told_to_stop() -> None:
    told = ChatTemplate(end="<end_of_turn>", end_id=7, adds_stop=True)
    chat = {"messages": [message("user", "a")]}
    assert told.body(chat) == {**chat, "stop_token_ids": [7]}
    assert told.body({"input": "a", "stop_token_ids": [3]}) == {
        "input": "a",
        "stop_token_ids": [3, 7],
    }
    for without in ({"prompt": "a"}, {**chat, "ignore_eos": True}):
        assert told.body(without) is without


def test_instructions_of_a_response_are_its_system_message() -> None:
    strict = ChatTemplate(takes_system=False, takes_consecutive=False)
    assert strict.body({"input": "a", "instructions": "s"}) == {
        "input": [message("user", "s\n\na")]
    }
    turns = {"input": [message("user", "a")], "instructions": "s"}
    assert strict.body(turns) == {"input": [message("user", "s\n\na")]}
    assert ChatTemplate(takes_consecutive=False).body(turns) is turns
    items = {"input": [{"type": "function_call_output", "output": "1"}], "instructions": "s"}
    assert strict.body(items) is items


@pytest.mark.parametrize(
    ("request_", "variables"),
    [
        ({}, {}),
        ({"chat_template_kwargs": None, "reasoning": None}, {}),
        (
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": None}},
            {"enable_thinking": False},
        ),
        ({"reasoning_effort": "none"}, {"enable_thinking": False, "reasoning_effort": "none"}),
        ({"reasoning": {"effort": "low"}}, {"enable_thinking": True, "reasoning_effort": "low"}),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
            {"enable_thinking": False, "reasoning_effort": "low"},
        ),
    ],
)
def test_a_request_s_variables_are_those_that_vllm_reads(
    request_: dict[str, Any], variables: dict[str, Any]
) -> None:
    assert chat_template.asked_for(request_) == variables


def test_the_configured_template_is_a_file_or_jinja(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    kwargs = {"enable_thinking": True}
    given = {"chat_template": str(tmp_path / "t.jinja"), "default_chat_template_kwargs": kwargs}
    assert chat_template.configured(given) == ("{{ messages }}", kwargs)
    assert chat_template.configured({"chat_template": "{{ 1 }}"}) == ("{{ 1 }}", {})
    assert chat_template.configured({}) == (None, {})
    with pytest.raises(ConfigError, match=r"engine\.chat_template: '.*nowhere'"):
        chat_template.configured({"chat_template": str(tmp_path / "nowhere")})
