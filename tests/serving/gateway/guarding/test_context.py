"""What an answer is compared with, from tasks, chats, completions and responses."""

from typing import Any

import orjson
import pytest

from serving.capture.interaction import Capture
from serving.config.lobs import Lob
from serving.config.prompts import Turn
from serving.fallback.engine_request import EngineRequest
from serving.gateway.guarding.context import of_answer
from serving.gateway.tasks import TaskRequest
from serving.guards.verdict import GuardContext


def context(body: dict[str, Any], task: TaskRequest | None = None) -> GuardContext:
    capture = Capture(
        id="i",
        endpoint="/v1/chat/completions",
        task="suggestion" if task else "chat",
        lob="care",
        model_requested="care",
        version="care@1",
        base_model="base",
        key_id=None,
        replica="r",
        request=orjson.dumps(body),
        stream=False,
        conversation_id=None,
        turn_position=None,
    )
    request = EngineRequest("/v1/chat/completions", body, capture, {}, {}, "i")
    return of_answer(request, task, Lob(description="Plans.", guidelines="Offer $5."))


def test_a_task_s_turns_are_told_apart_though_its_prompt_joins_them() -> None:
    turns = [Turn("customer", "Price?"), Turn("knowledge", "$25"), Turn("agent", "Hello")]
    task = TaskRequest("care", "care", turns, None, False, {})
    rendered = "customer: Price?\nknowledge: $25\nagent: Hello"
    body = {
        "messages": [
            {"role": "system", "content": "Plans. Be kind."},
            {"role": "user", "content": rendered},
        ]
    }
    found = context(body, task)
    assert found.conversation == (("customer", "Price?"), ("agent", "Hello"))
    assert found.knowledge == ("$25",)
    assert found.prompt == "Plans. Be kind.\nOffer $5."
    assert (found.lob, found.task) == ("care", "suggestion")


def test_what_tools_gave_is_knowledge_of_a_chat() -> None:
    body = {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Price?"},
            {"role": "tool", "content": "$25"},
        ]
    }
    found = context(body)
    assert (found.prompt, found.knowledge) == ("Be kind.", ("$25",))
    assert found.conversation == (("user", "Price?"),)


@pytest.mark.parametrize("field", ["prompt", "input"])
def test_a_text_alone_is_the_user_s(field: str) -> None:
    assert context({field: "Price?"}).conversation == (("user", "Price?"),)


def test_a_response_s_instructions_are_its_prompt_and_outputs_of_functions_knowledge() -> None:
    items = [{"role": "user", "content": "hi"}, {"type": "function_call_output", "output": "$25"}]
    found = context({"input": items, "instructions": "Be kind."})
    assert (found.prompt, found.knowledge) == ("Be kind.", ("$25",))
