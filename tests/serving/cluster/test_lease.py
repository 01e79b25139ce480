"""A replica that is cut off from its cluster stops answering before it is given up."""

import json
from typing import Any

import pytest

from serving import endpoints
from serving.asgi import Message, Receive, Scope, Send
from serving.cluster.lease import DEAD_S, Lease, Leased

LOST_AFTER_S = 4.0


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_lease_lasts_from_the_question_and_not_from_the_answer(clock: Clock) -> None:
    lease = Lease(clock)
    clock.now = 103.0  # the answer to what was asked at 100
    lease.renew(100.0, LOST_AFTER_S)
    clock.now = 103.9
    assert lease.held
    clock.now = 104.0
    assert not lease.held


def test_an_old_answer_that_comes_late_shortens_nothing(clock: Clock) -> None:
    lease = Lease(clock)
    lease.renew(102.0, LOST_AFTER_S)
    lease.renew(100.0, LOST_AFTER_S)
    clock.now = 105.0
    assert lease.held


def test_a_lease_that_was_lost_is_held_again_when_there_is_an_answer(clock: Clock) -> None:
    lease = Lease(clock)
    clock.now = 200.0
    assert not lease.held
    lease.renew(200.0, LOST_AFTER_S)
    assert lease.held


def test_a_lease_ends_before_ray_can_take_the_machine_for_dead(clock: Clock) -> None:
    lease = Lease(clock)
    lease.renew(100.0, 600.0)
    clock.now = 100.0 + DEAD_S
    assert not lease.held


@pytest.mark.parametrize("lost_after_s", [2.0, 10.0, 600.0])
def test_a_poll_waits_no_longer_than_half_of_a_lease(lost_after_s: float, clock: Clock) -> None:
    lease = Lease(clock)
    lease.renew(100.0, lost_after_s)
    clock.now = 100.0 + 2 * lease.poll_s  # the age of one poll's answer when the next one comes
    assert lease.held


def test_one_that_the_head_counts_as_dead_has_no_place_unless_it_starts(clock: Clock) -> None:
    lease = Lease(clock)
    assert lease.has_place(False)  # it starts
    assert lease.has_place(True)
    assert not lease.has_place(False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (endpoints.SUGGESTIONS, 503),
        (f"{endpoints.CHAT_COMPLETIONS}/", 503),
        (endpoints.READY, 503),
        (endpoints.HEALTH, 200),
        (endpoints.FEEDBACK, 200),
    ],
)
async def test_what_depends_on_a_version_is_refused_in_openais_shape(
    path: str, status: int, clock: Clock
) -> None:
    assert await ask(path, Lease(clock)) == (200, {})
    lost = Lease(clock)
    clock.now += DEAD_S
    found, body = await ask(path, lost)
    assert found == status
    if status == 503:
        assert body["error"]["code"] == "unavailable"


async def ask(path: str, lease: Lease) -> tuple[int, dict[str, Any]]:
    """Ask an application that answers everything with `{}`, behind the lease."""
    sent: list[Message] = []

    async def answers(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "path": path, "method": "POST", "headers": []}
    await Leased(answers, lease)(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])
