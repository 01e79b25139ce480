"""The console's pages through the real gateway: review, adapters, operations, desk; evil texts."""

import asyncio
from typing import Any

import pytest
from prometheus_client import make_asgi_app

from serving import auth
from serving.adapters.registry import Registry
from serving.gateway.metrics_page import MetricsPage
from serving.observability import metrics
from serving.store import adapter_versions, audit, events, feedback
from tests.serving.gateway.browser import EVIL, Browser, Read, signed_in
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.guarding.test_checks import chat
from tests.serving.gateway.guarding.test_review import SAID, hold
from tests.waiting import until_async

DESK = "/api/v1/suggestions"
ASKED = {"lob": "care", "conversation": [{"role": "customer", "text": "Hello"}]}


async def held(site: Site, said: str = SAID, asked: str = "Hello", **reviews: Any) -> str:
    hold(site, **reviews)
    site.says = said
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/chat/completions", json=chat(asked))
    return f"/review/{answer.headers['x-switchboard-review']}"


def no_markup(page: Read) -> None:
    """What was said has become no element."""
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert not page.all("b") or all(not one for one in page.all("b"))


async def version(site: Site, parent: str | None = None, **fields: Any) -> str:
    number = await adapter_versions.reserve(site.db, "care")
    accepted = {
        "accepted": True,
        "against": "base",
        "reasons": [
            {"metric": "edit", "rule": "superiority", "passed": True, "text": "0.9 [0.8, 1.0]."}
        ],
    }
    made = {
        "lob": "care",
        "number": number,
        "name": f"care@{number}",
        "parent": parent,
        "base_model": "m",
        "base_hash": "0f" * 32,
        "dataset_id": None,
        "recipe": {},
        "metrics": {},
        "decision": accepted,
        "uri": "file:///nowhere",
        "manifest_hash": "1f" * 32,
        "rank": 8,
    }
    return (await adapter_versions.add(site.db, **(made | fields))).name


# Review


async def test_a_reviewer_finds_claims_and_edits_an_answer(site: Site) -> None:
    path = await held(site)
    browser = await signed_in(site, ["reviewer"], ["care"])
    queue = await browser.get("/review")
    assert f"/console{path}" in queue.links()
    page = await browser.get(path)
    assert len(page.all("mark")) == 1
    assert "<mark>Acme</mark>" in browser.answer.text
    page = await browser.post(f"{path}/claim", page)
    assert "decision" in {one.get("name") for one in page.all("button")}
    await browser.post(f"{path}/decision", page, decision="edit", text="We look.", reason="Acme")
    assert (browser.status, browser.path) == (200, "/console/review")
    page = await browser.get(path)
    assert "We look." in page.text
    assert "decision" not in {one.get("name") for one in page.all("button")}
    (read, *_) = await audit.about(site.db, path.removeprefix("/review/"), "read_review")
    assert read.detail["reason"] == "console"


async def test_a_decision_becomes_feedback(site: Site) -> None:
    path = await held(site)
    (kept,) = await site.stored()
    browser = await signed_in(site, ["reviewer"])
    page = await browser.post(f"{path}/claim", await browser.get(path))
    await browser.post(f"{path}/decision", page, decision="approve")
    assert browser.status == 200
    assert [one.used for one in await feedback.for_interaction(site.db, kept.id)] == [True]


async def test_what_is_given_back_is_free_again(site: Site) -> None:
    path = await held(site)
    browser = await signed_in(site, ["reviewer"])
    page = await browser.post(f"{path}/claim", await browser.get(path))
    await browser.post(f"{path}/release", page)
    page = await browser.get(path)
    assert "pending" in page.text


@pytest.mark.parametrize("fields", [{"decision": "approve"}, {"decision": "maybe"}, {"claim": "x"}])
async def test_what_the_api_refuses_is_said_on_a_page(site: Site, fields: dict[str, str]) -> None:
    path = await held(site)
    browser = await signed_in(site, ["reviewer"])
    page = await browser.post(f"{path}/decision", await browser.get(path), **fields)
    assert browser.status in {400, 409}
    assert [one for one in page.all("p") if one.get("role") == "alert"]
    assert "pending" in (await browser.get(path)).text


async def test_another_lines_task_is_neither_listed_nor_shown(site: Site) -> None:
    path = await held(site)
    browser = await signed_in(site, ["reviewer"], ["sales"])
    assert f"/console{path}" not in (await browser.get("/review")).links()
    await browser.get(path)
    assert browser.status == 403
    assert SAID not in browser.answer.text


async def test_a_queue_may_be_asked_for_one_status(site: Site) -> None:
    path = await held(site)
    browser = await signed_in(site, ["reviewer"])
    for status, there in (("pending", True), ("approved", False), (EVIL, True)):
        page = await browser.get("/review", status=status)
        assert (f"/console{path}" in page.links()) is there
        no_markup(page)


async def test_of_what_customers_and_models_write_no_page_makes_markup(site: Site) -> None:
    path = await held(site, said=f"{EVIL} Acme {EVIL}", asked=EVIL)
    browser = await signed_in(site, ["reviewer"])
    page = await browser.get(path)
    assert page.text.count(EVIL) >= 3  # asked, and twice answered
    no_markup(page)
    page = await browser.post(f"{path}/claim", page)
    no_markup(page)
    assert f"{EVIL} Acme {EVIL}" in page.text  # in the field, too
    await browser.post(f"{path}/decision", page, decision="edit", text=EVIL, reason=EVIL)
    page = await browser.get(path)
    assert page.text.count(EVIL) >= 5
    no_markup(page)


# Adapters


async def test_a_lineage_is_shown_with_its_reasons(site: Site) -> None:
    first = await version(site)
    reason = {"metric": "m", "rule": "harm", "passed": False, "text": "0.2 [0.1, 0.3]."}
    canary = {"action": "roll_back", "share": 0.05, "why": "It harms.", "reasons": [reason]}
    second = await version(site, parent=first, metrics={"canary": canary})
    browser = await signed_in(site, ["trainer"], ["care"])
    page = await browser.get("/adapters")
    assert {f"/console/adapters/{name}" for name in (first, second)} <= page.links()
    page = await browser.get(f"/adapters/{second}")
    for said in ("0.9 [0.8, 1.0].", "0.2 [0.1, 0.3].", "It harms.", "Rolled back", "5 %"):
        assert said in page.text
    assert f"/console/adapters/{first}" in page.links()


async def test_a_version_that_another_model_answers_says_whose(site: Site) -> None:
    name = await version(site, upstream={"name": "big", "model": "big-1"}, rank=0)
    browser = await signed_in(site, ["trainer"], ["care"])
    page = await browser.get(f"/adapters/{name}")
    assert "big-1 (upstreams.big)" in page.text
    assert "Rank" not in page.text


async def test_a_trainer_sees_no_buttons_and_cannot_release(site: Site) -> None:
    name = await version(site)
    browser = await signed_in(site, ["trainer"])
    page = await browser.get(f"/adapters/{name}")
    assert not [one for one in page.links() if one.endswith(("/promote", "/canary", "/rollback"))]
    assert "register" not in page.text  # nor the audit
    for action in ("promote", "canary", "rollback"):
        await browser.get(f"/adapters/{name}/{action}")
        assert browser.status == 403
        await browser.post(f"/adapters/{name}/{action}", page, share="5")
        assert browser.status == 403
    assert site.rolled == []


async def test_an_admin_releases_after_a_page_that_asks(site: Site) -> None:
    name = await version(site)
    key, record = await auth.create(site.db, name="Ann", roles=["admin"], lobs=["care"])
    browser = Browser(site.gateway)
    await browser.sign_in(key)
    for action, fields in (("promote", {}), ("canary", {"share": "5"})):
        page = await browser.get(f"/adapters/{name}/{action}")
        assert site.rolled == [] or site.rolled[-1][0] != action
        await browser.post(f"/adapters/{name}/{action}", page, **fields)
        assert (browser.status, browser.path) == (200, f"/console/adapters/{name}")
    promoted, canaried = site.rolled
    mine = {"name": name, "force": False, "key_id": record.id}
    assert promoted == ("promote", mine)
    assert canaried == ("canary", mine | {"share": 0.05})


async def test_a_canary_is_ended_and_a_live_version_is_replaced(site: Site) -> None:
    name = await version(site)
    browser = await signed_in(site, ["admin"])
    registry = Registry(site.db, "nowhere")
    moves: list[tuple[dict[str, Any], str | None]] = [
        ({"canary": name, "share": 0.1, "action": "canary"}, name),
        ({"live": name, "action": "promote"}, None),
    ]
    for move, canary in moves:
        await registry.switch("care", **move)
        page = await browser.get(f"/adapters/{name}/rollback")
        await browser.post(f"/adapters/{name}/rollback", page)
        assert site.rolled[-1][0] == "rollback"
        assert site.rolled[-1][1]["canary"] == canary


@pytest.mark.parametrize("share", ["", "many", "0", "100", "nan", "-1"])
async def test_a_faulty_share_is_refused(site: Site, share: str) -> None:
    name = await version(site)
    browser = await signed_in(site, ["admin"])
    page = await browser.get(f"/adapters/{name}/canary")
    await browser.post(f"/adapters/{name}/canary", page, share=share)
    assert browser.status == 400
    assert site.rolled == []


async def test_who_did_what_to_a_version_is_named(site: Site) -> None:
    browser = await signed_in(site, ["admin"], name=EVIL)
    (key,) = [one for one in await auth.list_keys(site.db) if one.name == EVIL]
    name = await version(site, key_id=key.id)
    page = await browser.get(f"/adapters/{name}")
    assert f"{EVIL} ({key.id})" in page.text
    no_markup(page)


async def test_no_version_is_a_page_that_says_so(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    for path in ("/adapters/care@99", "/adapters/care@1/delete", f"/adapters/{EVIL}"):
        page = await browser.get(path)
        assert browser.status == 404
        no_markup(page)


async def test_a_decisions_words_are_text(site: Site) -> None:
    reason = {"metric": EVIL, "rule": EVIL, "passed": True, "text": EVIL}
    canary = {"action": "share", "share": 0.1, "why": EVIL, "reasons": [reason]}
    decision = {"accepted": False, "against": EVIL, "reasons": [reason]}
    name = await version(site, metrics={"canary": canary}, decision=decision)
    browser = await signed_in(site, ["admin"])
    page = await browser.get(f"/adapters/{name}")
    assert page.text.count(EVIL) == 4
    no_markup(page)


# Operations


async def test_operations_show_replicas_and_the_lines_of_the_key(site: Site) -> None:
    async def alone(*_: str) -> list[str]:
        return []

    site.gateway._metrics_page = MetricsPage(make_asgi_app(), "r", alone)
    metrics.QUEUED.labels("care").set(3)
    metrics.QUEUED.labels("sales").set(4)
    metrics.BREAKER.labels(EVIL).set(2)
    metrics.STORE_UP.set(1)
    browser = await signed_in(site, ["reviewer"], ["care"])
    page = await browser.get("/operations")
    metrics.BREAKER.remove(EVIL)
    assert "Replicas" in page.text
    assert "cannot be read" not in page.text
    assert "care" in page.text
    assert "sales" not in page.text
    assert EVIL in page.text
    no_markup(page)


async def test_operations_say_where_metrics_cannot_be_read(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    page = await browser.get("/operations")  # this engine has no page of metrics
    assert (browser.status, "cannot be read" in page.text) == (200, True)


# Desk


async def ask(browser: Browser, path: str, body: Any, **headers: str) -> Any:
    """Ask as the desk's script does."""
    page = await browser.get("/desk")
    desk = next(one for one in page.all("div") if one.get("id") == "desk")
    sent = {"x-csrf-token": desk["data-csrf"] or ""} | headers
    return await browser.http.post(f"/console{path}", json=body, headers=sent)


async def test_an_agents_suggestion_is_answered_captured_and_learned_from(site: Site) -> None:
    key, record = await auth.create(site.db, name="Ann", roles=["agent"], lobs=["care"])
    browser = Browser(site.gateway)
    await browser.sign_in(key)
    answer = await ask(browser, DESK, ASKED, **{"x-conversation-id": "desk-1"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["choices"][0]["message"]["content"] == "of care@2"
    (kept,) = await site.stored()
    assert (kept.id, kept.key_id, kept.conversation_id) == (said["id"], record.id, "desk-1")
    common = {"id": kept.id, "at": 1.0}
    told = [
        {**common, "event_id": "1", "type": "displayed", "candidates": [0]},
        {**common, "event_id": "2", "type": "inserted", "index": 0, "rank": 0},
        {**common, "event_id": "3", "type": "sent", "index": 0, "text": "My own."},
    ]
    stored = await ask(browser, "/api/v1/events", {"events": told})
    assert stored.json()["created"] == 3
    assert [one.edit for one in await feedback.for_interaction(site.db, kept.id)] == ["My own."]
    assert await events.first_shown(site.db, kept.id) == 0


async def test_the_desk_names_the_lines_of_the_key(site: Site) -> None:
    browser = await signed_in(site, ["agent"], ["sales"])
    page = await browser.get("/desk")
    assert len(page.all("option")) == 1
    refused = await ask(browser, DESK, ASKED)
    assert refused.status_code == 403


async def test_the_desk_passes_on_what_it_needs_and_nothing_else(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    for path in ("/v1/adapters/care@2/promote", "/v1/config", "/v1/chat/completions", "/health"):
        answer = await ask(browser, f"/api{path}", {})
        assert answer.status_code == 404, path
    assert (await browser.http.get(f"/console{DESK}")).status_code == 404
    assert site.rolled == []


async def test_the_desks_requests_need_the_token_and_a_session(site: Site) -> None:
    browser = await signed_in(site, ["agent"])
    answer = await browser.http.post(f"/console{DESK}", json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    site.says = None
    nobody = Browser(site.gateway)
    assert (await nobody.http.post(f"/console{DESK}", json=ASKED)).status_code == 401
    reviewer = await signed_in(site, ["reviewer"])
    page = await reviewer.get("/review")
    sent = {"x-csrf-token": page.field("csrf")}
    refused = await reviewer.http.post(f"/console{DESK}", json=ASKED, headers=sent)
    assert refused.status_code == 403
    assert site.asked == []


async def test_a_browser_that_types_on_ends_its_last_request(site: Site) -> None:
    browser = await signed_in(site, ["agent"])
    site.held.add("care@2")
    page = await browser.get("/desk")
    token = page.field("csrf")
    left = asyncio.Event()
    cookie = f"sb_session={browser.http.cookies['sb_session']}".encode()
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            body = b'{"lob": "care", "conversation": [{"role": "customer", "text": "Hi"}]}'
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "http_version": "1.1",
        "path": f"/console{DESK}",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"cookie", cookie), (b"x-csrf-token", token.encode()), (b"host", b"sb")],
    }
    asking = asyncio.create_task(site.gateway(scope, receive, send))
    await until_async(lambda: len(site.asked) > 0, "the engine is asked")
    left.set()
    await asyncio.wait({asking}, timeout=60)
    assert site.left == ["care@2"]


async def test_a_versions_own_prompts_are_named(site: Site) -> None:
    hash_ = "ab" * 8
    own = await version(site, prompts={"suggestion": {"name": "care@1/suggestion", "hash": hash_}})
    plain = await version(site)
    browser = await signed_in(site, ["trainer"])
    assert f"care@1/suggestion ({hash_})" in (await browser.get(f"/adapters/{own}")).text
    assert "Prompts" not in (await browser.get(f"/adapters/{plain}")).text
