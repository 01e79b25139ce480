"""What a request asks, read from its path, body and conversation header."""

from typing import Any

import pytest

from serving.config.lobs import Lob
from serving.errors import InvalidRequest
from serving.gateway import request, tasks

TURNS = [{"role": "customer", "text": "hello"}, {"role": "agent", "text": "hi"}]


def read(
    endpoint: str, sent: dict[str, Any], header: str | None = None
) -> request.InferenceRequest:
    return request.read(
        endpoint,
        sent,
        conversation_id=header,
        base="base",
        lobs={"care": Lob()},
        sampling_fields=frozenset({"max_tokens"}),
    )


@pytest.mark.parametrize(
    ("endpoint", "task", "prefix"),
    [
        ("/v1/chat/completions", "chat", "chatcmpl-"),
        ("/v1/completions", "completion", "cmpl-"),
        ("/v1/responses", "response", "resp_"),
    ],
)
def test_the_engines_own_endpoints_answer_themselves(endpoint: str, task: str, prefix: str) -> None:
    turns = {"messages": [{}, {}, {}]} if task == "chat" else {}
    asked = read(endpoint, {"model": "care@3", **turns}, "c-1")
    assert (asked.engine_path, asked.task, asked.id_prefix) == (endpoint, task, prefix)
    assert (asked.model, asked.lob, asked.conversation_id) == ("care@3", None, "c-1")
    assert asked.turn == (3 if turns else None)


def test_no_model_is_the_base() -> None:
    assert read("/v1/completions", {"prompt": "x"}).model == "base"
    assert read("/v1/completions", {"prompt": "x"}).turn is None


def test_a_model_that_is_no_string_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read("/v1/chat/completions", {"model": 3})
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("endpoint", "task"), [("/v1/suggestions", "suggestion"), ("/v1/summaries", "summary")]
)
def test_tasks_are_chat_completions_of_their_line(endpoint: str, task: str) -> None:
    asked = read(endpoint, {"lob": "care", "conversation": TURNS}, "header")
    assert (asked.engine_path, asked.id_prefix) == ("/v1/chat/completions", "chatcmpl-")
    assert (asked.task, asked.lob, asked.model, asked.turn) == (task, "care", "care", 2)
    assert asked.conversation_id == "header"


def test_a_tasks_own_conversation_id_goes_before_the_header() -> None:
    sent = {"lob": "care", "conversation": TURNS, "conversation_id": "own"}
    assert read("/v1/suggestions", sent, "header").conversation_id == "own"


def test_every_path_is_read() -> None:
    for path in request.PATHS:
        body = {"lob": "care", "conversation": TURNS} if path in tasks.PATHS else {"model": "care"}
        assert read(path, body).endpoint == path


@pytest.mark.parametrize("path", sorted(request.PATHS))
@pytest.mark.parametrize(
    "field",
    [
        *("chat_template", "kv_transfer_params", "ec_transfer_params", "mm_processor_kwargs"),
        *("media_io_kwargs", "vllm_xargs", "cache_salt", "return_prompt_text", "request_id"),
        *("session_id", "documents", "prompt_embeds", "previous_response_id", "background"),
        *("use_beam_search", "previous_input_messages", "something_new"),
    ],
)
def test_a_field_that_is_not_listed_is_refused_by_name(path: str, field: str) -> None:
    body = {"lob": "care", "conversation": TURNS} if path in tasks.PATHS else {"model": "care"}
    with pytest.raises(InvalidRequest) as caught:
        read(path, {**body, field: None})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"model": "care"}),
        ("/v1/suggestions", {"lob": "care", "conversation": TURNS}),
        ("/v1/summaries", {"lob": "care", "conversation": TURNS}),
    ],
)
def test_the_audience_is_read_and_taken_out_of_what_goes_on(
    endpoint: str, body: dict[str, Any]
) -> None:
    asked = read(endpoint, body | {"audience": "customer"})
    assert asked.audience == "customer"
    assert "audience" not in asked.sent
    assert read(endpoint, body).audience is None
    assert read(endpoint, body | {"audience": None}).audience is None
    with pytest.raises(InvalidRequest) as caught:
        read(endpoint, body | {"audience": ["customer"]})
    assert caught.value.param == "audience"
