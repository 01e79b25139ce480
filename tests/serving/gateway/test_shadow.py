"""A shadow answers copies of live requests in the background, last, and unseen."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from serving import endpoints
from serving.asgi import Message
from serving.capture.interaction import Capture
from serving.config.lobs import Shadow
from serving.gateway.shadow import LOWEST, copied, wanted
from serving.store import shadows
from serving.store.shadows import ShadowRecord
from tests.serving.gateway.conftest import PLACES, Site
from tests.waiting import until_async

SHADOW = Shadow(version="care@3", share=1.0)
TASK = {
    "lob": "care",
    "conversation": [{"role": "customer", "text": "Hi"}],
    "conversation_id": "c1",
}


def capture(**fields: Any) -> Capture:
    known: dict[str, Any] = {
        "id": "i",
        "endpoint": endpoints.SUGGESTIONS,
        "task": "suggestion",
        "lob": "care",
        "model_requested": "care",
        "version": "care@2",
        "base_model": "base",
        "key_id": None,
        "replica": "r",
        "request": b"{}",
        "stream": False,
        "conversation_id": "c1",
        "turn_position": None,
    }
    return Capture(**(known | fields))


def test_what_the_live_version_answered_for_the_line_is_shadowed() -> None:
    assert wanted(SHADOW, capture(), "care@2")
    assert wanted(SHADOW, capture(version="base"), "base")


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({"version": "care@4"}, "care@2"),  # the canary
        ({"version": "upstream:big"}, "care@2"),
        ({"model_requested": "care@2"}, "care@2"),  # pinned
        ({"model_requested": "base", "version": "base"}, "base"),
        ({"conversation_id": None}, "care@2"),
        ({"version": "care@3"}, "care@3"),  # the shadow has become live
    ],
)
def test_nothing_else_is_shadowed(fields: dict[str, Any], live: str) -> None:
    assert not wanted(SHADOW, capture(**fields), live)


def test_without_a_share_nothing_is() -> None:
    assert not wanted(SHADOW.model_copy(update={"share": 0.0}), capture(), "care@2")
    half = SHADOW.model_copy(update={"share": 0.5})
    drawn = sum(wanted(half, capture(conversation_id=f"c{n}"), "care@2") for n in range(2000))
    assert drawn / 2000 == pytest.approx(0.5, abs=0.05)


def test_a_copy_is_not_streamed_goes_last_and_leaves_the_original_alone() -> None:
    body = {"model": "care@2", "stream": True, "stream_options": {}, "seed": 1, "priority": 1}
    copy = copied(endpoints.CHAT_COMPLETIONS, body, "care@3", last=True)
    assert copy == {"model": "care@3", "stream": False, "seed": 1, "priority": LOWEST}
    assert body["stream"] is True
    assert copied(endpoints.CHAT_COMPLETIONS, body, "care@3", last=False)["priority"] == 1
    own = copied(endpoints.RESPONSES, {"request_id": "resp_1"}, "care@3", last=True)
    assert own["request_id"] == "resp_1-shadow"


def count(outcome: str) -> float:
    found = REGISTRY.get_sample_value(
        "switchboard_shadow_total", {"lob": "care", "outcome": outcome}
    )
    return found or 0.0


async def ask(site: Site, **fields: Any) -> dict[str, Any]:
    async with await site.http(["agent"], ["care"]) as http:
        answer = await http.post(endpoints.SUGGESTIONS, json=TASK | fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def kept(site: Site) -> list[ShadowRecord]:
    return await shadows.for_line(site.db, lob="care", version="care@3", since=0)


async def test_its_answer_is_kept_beside_the_live_one_and_is_no_interaction(site: Site) -> None:
    site.shadow()
    before = count("answered")
    live = await ask(site)
    assert live["model"] == "care@2"
    await site.stored()  # the journal is drained: its interaction is there
    await until_async(lambda: count("answered") == before + 1, "the shadow's answer was not kept")
    (found,) = await kept(site)
    assert (found.interaction_id, found.output) == (live["id"], "of care@3")
    assert found.finish_reason == "stop"
    (stored,) = await site.stored()
    assert (stored.id, stored.version, stored.output) == (live["id"], "care@2", "of care@2")
    (_, first), (scope, second) = site.asked
    assert second == first | {"model": "care@3", "stream": False, "priority": LOWEST}
    assert b"authorization" not in dict(scope["headers"])
    assert site.admission.inflight == 0


async def test_without_a_shadow_or_a_conversation_id_nobody_shadows(site: Site) -> None:
    await ask(site)
    site.shadow()
    await ask(site, conversation_id=None)
    assert not site.shadows.tasks


async def test_a_shadow_that_hangs_delays_nobody_and_further_ones_are_dropped(site: Site) -> None:
    site.shadow()
    site.held.add("care@3")
    busy = count("busy")
    for _ in range(3):
        await ask(site)
    assert count("busy") == busy + 2
    await until_async(lambda: site.admission.inflight == 1, "the shadow took no place")
    assert len(site.shadows.tasks) == 1


async def test_several_answers_at_once_are_not_shadowed(site: Site) -> None:
    site.shadow()
    several = count("several")
    await ask(site, n=2)
    assert count("several") == several + 1


async def test_a_shadow_takes_no_place_that_requests_may_need(site: Site) -> None:
    site.shadow()
    key = site.admission.arrive("key_1", "x")
    claims = [site.admission.claim("care", key) for _ in range(PLACES - 1)]
    no_place = count("no_place")
    await ask(site)
    await until_async(lambda: count("no_place") == no_place + 1, "it was not dropped")
    for claim in claims:
        site.admission.release(claim)


async def test_a_request_that_needs_its_place_ends_it_and_the_engine_learns_of_it(
    site: Site,
) -> None:
    site.shadow()
    site.held.add("care@3")
    cut = count("cut")
    await ask(site)
    await until_async(lambda: site.admission.inflight == 1, "the shadow took no place")
    await until_async(lambda: len(site.asked) == 2, "the shadow did not ask the engine")
    key = site.admission.arrive("key_1", "x")
    claims = [site.admission.claim("care", key) for _ in range(PLACES)]
    assert all(claim.held for claim in claims)  # care may queue none: it would have been refused
    await until_async(lambda: count("cut") == cut + 1, "the shadow was not cut")
    assert site.left == ["care@3"]
    assert site.admission.inflight == PLACES
    for claim in claims:
        site.admission.release(claim)


async def test_a_replica_that_stops_cuts_its_shadows_and_begins_none(site: Site) -> None:
    site.shadow()
    site.held.add("care@3")
    await ask(site)
    await until_async(lambda: len(site.asked) == 2, "the shadow did not ask the engine")
    stopped = count("stopped")
    await asyncio.gather(site.gateway.drain(5, refuse=False), ask(site))
    await ask(site)
    assert site.left == ["care@3"]
    assert not site.shadows.tasks
    assert count("stopped") == stopped + 2


async def test_a_shadow_that_the_engine_refuses_is_counted_and_nothing_else(site: Site) -> None:
    site.shadow(version="care@9")  # there is no such version
    failed = count("failed")
    live = await ask(site)
    assert live["model"] == "care@2"
    await until_async(lambda: count("failed") == failed + 1, "the failure was not counted")
    assert await kept(site) == []


async def test_where_the_engine_would_swap_adapters_there_is_no_shadow(site: Site) -> None:
    site.shadow()
    places = site.settings.adapters.max_active
    for number in range(places):
        site.adapters.acquire(f"sales@{number + 1}")
    no_slot = count("no_slot")
    await ask(site)
    assert count("no_slot") == no_slot + 1


async def test_a_line_that_goes_while_it_answers_is_answered_to_the_end(site: Site) -> None:
    site.shadow()
    http = await site.http(["agent"], ["care"])
    request = http.build_request("POST", endpoints.SUGGESTIONS, json=TASK)
    scope = {
        "type": "http",
        "method": "POST",
        "path": endpoints.SUGGESTIONS,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)
        without = {name: lob for name, lob in site.settings.lobs.items() if name != "care"}
        site.gateway.configure(site.settings.model_copy(update={"lobs": without}), site.prompts)

    await site.gateway(scope, receive, send)
    assert [message.get("status") for message in sent] == [200, None]
    assert not site.shadows.tasks
