"""What of a response reaches the journal."""

import json
from typing import Any

import pytest

from serving.asgi import Message
from serving.gateway.response import ResponseWriter
from tests.serving.capture.test_interaction import capture


class Entries(list[dict[str, Any]]):
    """A journal that keeps what it is given."""

    def append(self, payload: bytes) -> None:  # type: ignore[override]
        super().append(json.loads(payload))

    async def commit(self, payload: bytes) -> None:
        self.append(payload)


async def ignore(_: Message) -> None:
    return


@pytest.mark.parametrize(
    ("status", "ends", "recorded"),
    [(200, True, "completed"), (200, False, "aborted"), (500, True, "error"), (503, True, "error")],
)
async def test_answers_and_our_own_failures_are_recorded_once(
    status: int, ends: bool, recorded: str
) -> None:
    journal = Entries()
    answer = ResponseWriter(ignore, capture(stream=False), journal, hide_usage=False)  # type: ignore[arg-type]
    await answer.send({"type": "http.response.start", "status": status})
    await answer.send({"type": "http.response.body", "body": b"{}", "more_body": not ends})
    answer.close()
    assert [entry["status"] for entry in journal] == [recorded]


async def test_a_request_that_was_refused_is_not_recorded() -> None:
    journal = Entries()
    answer = ResponseWriter(ignore, capture(stream=False), journal, hide_usage=False)  # type: ignore[arg-type]
    await answer.send({"type": "http.response.start", "status": 400})
    await answer.send({"type": "http.response.body", "body": b"{}"})
    answer.close()
    assert journal == []
