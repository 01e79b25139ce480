"""Of two requests for the completion of one turn, the newer is answered."""

import asyncio
from typing import Any

import httpx
from prometheus_client import REGISTRY

from tests.serving.gateway.conftest import Site
from tests.waiting import until_async

TURNS = [{"role": "customer", "text": "My kettle is broken."}]


def body(**more: Any) -> dict[str, Any]:
    asked = {"lob": "care", "conversation": TURNS, "conversation_id": "c", "draft": "I am"}
    return {name: value for name, value in (asked | more).items() if value is not None}


async def older(site: Site, http: httpx.AsyncClient, **more: Any) -> "asyncio.Task[httpx.Response]":
    """A request that the engine has and does not answer."""
    site.held.add("care@2")
    before = len(site.asked)
    task = asyncio.create_task(http.post("/v1/suggestions", json=body(**more)))
    await until_async(lambda: len(site.asked) > before, "the engine is asked")
    site.held.clear()
    return task


def superseded() -> float:
    name = "switchboard_superseded_total"
    return REGISTRY.get_sample_value(name, {"lob": "care"}) or 0.0


async def test_the_newer_ends_the_older_in_the_engine_and_it_is_not_stored(site: Site) -> None:
    site.says = " sorry"
    before = superseded()
    async with await site.http(["agent"], ["*"]) as http:
        first = await older(site, http)
        second = await http.post("/v1/suggestions", json=body(draft="I am s"))
        ended = await first
    assert second.status_code == 200
    assert ended.status_code == 409
    error = ended.json()["error"]
    assert (error["code"], error["type"]) == ("superseded", "invalid_request_error")
    assert ended.headers["x-should-retry"] == "false"
    assert site.left == ["care@2"], "the engine was told"
    assert superseded() == before + 1
    (stored,) = await site.stored()
    assert stored.id == second.json()["id"]


async def test_an_empty_draft_ends_what_was_asked_before_it_was_deleted(site: Site) -> None:
    async with await site.http(["agent"], ["*"]) as http:
        first = await older(site, http)
        second = await http.post("/v1/suggestions", json=body(draft=""))
        assert (second.status_code, (await first).status_code) == (200, 409)


async def test_each_keystroke_ends_the_one_before(site: Site) -> None:
    site.says = " sorry"
    async with await site.http(["agent"], ["*"]) as http:
        first = await older(site, http)
        second = await older(site, http, draft="I am s")
        third = await http.post("/v1/suggestions", json=body(draft="I am so"))
        assert [(await first).status_code, (await second).status_code] == [409, 409]
        assert third.status_code == 200


async def test_what_is_of_another_turn_line_key_or_kind_goes_on(site: Site) -> None:
    site.says = " sorry"
    turns = [*TURNS, {"role": "agent", "text": "Oh."}]
    others = [
        body(conversation=turns),
        body(conversation_id="d"),
        body(conversation_id=None),
        body(draft=None),
        body(lob="sales"),
    ]
    async with (
        await site.http(["agent"], ["*"]) as http,
        await site.http(["service"], ["*"]) as other,
    ):
        first = await older(site, http)
        for one in others:
            assert (await http.post("/v1/suggestions", json=one)).status_code == 200
        assert (await other.post("/v1/suggestions", json=body())).status_code == 200
        assert not first.done()
        last = await http.post("/v1/suggestions", json=body())
        assert ((await first).status_code, last.status_code) == (409, 200)


async def test_a_line_may_answer_them_all(site: Site) -> None:
    site.says = " sorry"
    site.line(suggestions={"supersede": False})
    async with await site.http(["agent"], ["*"]) as http:
        first = await older(site, http)
        assert (await http.post("/v1/suggestions", json=body())).status_code == 200
        assert not first.done()
        first.cancel()


async def test_one_that_waits_for_a_place_is_ended_there(site: Site) -> None:
    site.says = " sorry"
    site.held.add("base")
    async with await site.http(["agent"], ["*"]) as http:

        def ask(**more: Any) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(http.post("/v1/suggestions", json=body(lob="sales", **more)))

        full = ask(conversation_id="full", draft=None, n=8)
        await until_async(lambda: len(site.asked) == 1, "the engine is asked")
        first = ask()
        await until_async(lambda: site.admission.waiting == 1, "one waits")
        second = ask(draft="I am s")
        assert (await first).json()["error"]["code"] == "superseded"
        site.held.clear()
        full.cancel()
        assert (await second).status_code == 200
        assert len(site.asked) == 2, "the engine never heard of the first"


async def test_a_client_that_leaves_is_not_called_superseded(site: Site) -> None:
    before = superseded()
    async with await site.http(["agent"], ["*"]) as http:
        first = await older(site, http)
        first.cancel()
        await asyncio.wait((first,))
        assert first.cancelled()
    assert superseded() == before
    assert await site.stored() == []
