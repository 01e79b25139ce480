"""Which prompt asks the engine, and is stored, wherever a version answers."""

from pathlib import Path
from typing import Any

import pytest

from serving.gateway import shadow
from serving.gateway.guarding import context
from serving.store.records import InteractionRecord
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.rendering.conftest import Bring, route
from tests.waiting import until_async

TALK = [{"role": "customer", "text": "Where is it?"}]
OWN = "OWN {{ turns[0].text }}"


async def ask(site: Site, role: str = "service", **fields: Any) -> InteractionRecord:
    body = {"lob": "care", "conversation": TALK, "conversation_id": "c"} | fields
    async with await site.http([role], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=body)
    assert answer.status_code == 200, answer.text
    return next(one for one in await site.stored() if one.id == answer.json()["id"])


def asked(site: Site, place: int = -1) -> Any:
    """The last message that the engine got."""
    return site.asked[place][1]["messages"][-1]["content"]


async def test_a_live_version_is_asked_by_its_own_prompt_and_the_interaction_says_so(
    site: Site, bring: Bring
) -> None:
    own = await bring(suggestion=OWN)
    described = (await site.adapters.describe(own)).prompts
    assert described is not None
    route(site, live=own)
    stored = await ask(site)
    assert asked(site) == "OWN Where is it?"
    assert stored.messages == [{"role": "user", "content": "OWN Where is it?"}]
    its = described["suggestion"]
    assert (stored.prompt_name, stored.prompt_hash) == (its["name"], its["hash"])
    assert (stored.version, its["name"]) == (own, f"{own}/suggestion")
    async with await site.http(["service"], ["care"]) as http:
        summary = await http.post("/v1/summaries", json={"lob": "care", "conversation": TALK})
    kept = next(one for one in await site.stored() if one.id == summary.json()["id"])
    assert kept.prompt_name == site.prompts["care", "summary"].name


async def test_a_canary_and_the_live_version_each_have_their_own(site: Site, bring: Bring) -> None:
    live, canary = await bring(), await bring(suggestion=OWN)
    route(site, live=live, canary=canary, canary_share=0.5)
    names = {f"{canary}/suggestion": canary, site.prompts["care", "suggestion"].name: live}
    seen = set()
    for number in range(20):
        stored = await ask(site, conversation_id=f"c-{number}")
        assert names[stored.prompt_name or ""] == stored.version
        assert asked(site).startswith("OWN") is (stored.version == canary)
        seen.add(stored.version)
    assert seen == {live, canary}


async def test_a_pinned_version_that_nobody_loaded_yet_is_asked_by_its_own_prompt(
    site: Site, bring: Bring
) -> None:
    own = await bring(load=False, suggestion=OWN)
    assert own not in site.adapters.loaded
    stored = await ask(site, "trainer", model=own)
    assert (asked(site), stored.prompt_name) == ("OWN Where is it?", f"{own}/suggestion")


async def test_a_pinned_version_goes_on_though_the_line_s_own_prompt_could_not(
    site: Site, bring: Bring
) -> None:
    own = await bring(load=False, summary="{{ previous }}!{{ turns|length }}")
    prompt = site.prompts["care", "summary"]
    deaf = {**site.prompts, ("care", "summary"): type(prompt)(prompt.name, "h", prompt.template)}
    site.gateway.configure(site.settings, deaf)
    body = {"lob": "care", "conversation": TALK, "previous": {"summary": "It broke.", "turns": 1}}
    async with await site.http(["trainer"], ["care"]) as http:
        answer = await http.post("/v1/summaries", json=body | {"model": own})
    assert answer.status_code == 200, answer.text
    assert asked(site) == "It broke.!0"


async def test_a_pinned_version_that_cannot_be_loaded_is_an_error_and_reaches_no_engine(
    site: Site, bring: Bring
) -> None:
    own = await bring(load=False, suggestion=OWN)
    version = await site.adapters.describe(own)
    (Path(version.uri) / "prompts" / "suggestion.jinja").write_text("changed")
    async with await site.http(["trainer"], ["care"]) as http:
        answer = await http.post(
            "/v1/suggestions", json={"lob": "care", "conversation": TALK, "model": own}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "adapter_refused")
    assert site.asked == []


async def test_a_chain_renders_each_step_anew(site: Site, bring: Bring) -> None:
    previous, live = await bring(suggestion="OLD"), await bring(suggestion=OWN)
    site.line(fallback=["previous", "base"])
    route(site, live=live, previous=previous)
    assert (await ask(site, conversation_id="c-1")).prompt_name == f"{live}/suggestion"
    for broken, by, said in [({live}, previous, "OLD"), ({live, previous}, "base", None)]:
        site.broken = broken
        stored = await ask(site, conversation_id=f"c-{by}")
        assert stored.version == by
        assert [step["outcome"] for step in stored.steps][-1] == "answered"
        if said:
            assert (asked(site), stored.prompt_name) == (said, f"{by}/suggestion")
            assert stored.messages[-1]["content"] == said
        else:
            assert stored.prompt_name == site.prompts["care", "suggestion"].name
            assert "Where is it?" in asked(site)


async def test_a_chain_loads_a_version_before_it_renders_for_it(site: Site, bring: Bring) -> None:
    own = await bring(load=False, suggestion=OWN)
    site.line(fallback=["base"])
    route(site, live=own)
    stored = await ask(site)
    assert (stored.version, stored.prompt_name) == (own, f"{own}/suggestion")
    assert asked(site) == "OWN Where is it?"


async def test_a_shadow_is_asked_by_its_own_prompt(site: Site, bring: Bring) -> None:
    live, own = await bring(), await bring(load=False, suggestion=OWN)
    route(site, live=live)
    site.shadow(version=own)
    await ask(site)
    await until_async(lambda: len(site.asked) == 2, "the shadow was not asked")
    assert "Where is it?" in asked(site, 0)
    assert (asked(site), site.asked[-1][1]["model"]) == ("OWN Where is it?", own)
    assert site.asked[-1][1]["priority"] == shadow.LOWEST


async def test_a_live_version_s_own_prompt_is_not_its_shadow_s(site: Site, bring: Bring) -> None:
    live, plain = await bring(suggestion=OWN), await bring()
    route(site, live=live)
    site.shadow(version=plain)
    await ask(site)
    await until_async(lambda: len(site.asked) == 2, "the shadow was not asked")
    assert asked(site, 0) == "OWN Where is it?"
    assert not asked(site).startswith("OWN")


async def test_guards_compare_with_the_prompt_that_the_answering_version_got(
    site: Site, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = context.of_answer

    def noted(*given: Any) -> Any:
        made = real(*given)
        seen.append(given[0].body["messages"][-1]["content"])
        return made

    monkeypatch.setattr(context, "of_answer", noted)
    previous, live = await bring(suggestion="OLD"), await bring(suggestion=OWN)
    guards = {"output": {"content": {"action": "block", "profanity": ["zzz"]}}}
    site.guard(guards, fallback=["previous"])
    route(site, live=live, previous=previous)
    site.broken = {live}
    assert (await ask(site)).version == previous
    assert seen == ["OLD"]


async def test_a_chat_is_asked_by_what_its_caller_wrote(site: Site, bring: Bring) -> None:
    own = await bring(suggestion=OWN)
    route(site, live=own)
    said = [{"role": "user", "content": "Where is it?"}]
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post("/v1/chat/completions", json={"model": "care", "messages": said})
    assert answer.status_code == 200, answer.text
    assert site.asked[-1][1]["messages"] == said
    (stored,) = await site.stored()
    assert (stored.version, stored.prompt_name) == (own, None)
    assert "conversation" not in stored.request


async def test_a_turn_that_is_held_back_is_asked_by_the_version_s_own_prompt(
    site: Site, bring: Bring
) -> None:
    own = await bring(suggestion=OWN)
    route(site, live=own)
    site.line(holdback=0.5)
    stored = [await ask(site, "agent", conversation_id=f"c-{n}") for n in range(12)]
    assert {one.shown_by_draw for one in stored} == {True, False}
    assert {one.prompt_name for one in stored} == {f"{own}/suggestion"}
