"""What the audit knows of HTTP: refused keys, and reads of tasks and answers."""

from typing import Any

import httpx
import pytest

from serving.auth import PREFIX
from serving.store import audit
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_reviews import held

UNKNOWN = f"{PREFIX}{'q7Zk' * 10}abc"


async def entries(site: Site, action: str) -> list[Any]:
    return [one for one in await audit.tail(site.db) if one.action == action]


async def test_refused_keys_are_counted_and_nothing_of_them_is_kept(site: Site) -> None:
    transport = httpx.ASGITransport(site.gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://sb") as http:
        for _ in range(2):
            sent = {"authorization": f"Bearer {UNKNOWN}"}
            assert (await http.get("/v1/models", headers=sent)).status_code == 401
        assert (await http.get("/v1/models")).status_code == 401
    await site.gateway._keys.note_refused()
    (entry,) = await entries(site, "refuse_keys")
    assert (entry.detail["unknown"], entry.detail["missing"]) == (2, 1)
    said = entry.model_dump_json()
    assert not any(UNKNOWN[at : at + 4] in said for at in range(3, len(UNKNOWN) - 4))


@pytest.mark.parametrize("reason", [None, "dispute 17"])
async def test_a_read_of_a_task_is_audited_with_its_reason(site: Site, reason: str | None) -> None:
    id_ = await held(site)
    params = {} if reason is None else {"reason": reason}
    async with await site.http(["reviewer"], ["care"]) as http:
        assert (await http.get(f"/v1/reviews/{id_}", params=params)).status_code == 200
    (entry,) = await entries(site, "read_review")
    assert entry.target == id_
    assert entry.key_id
    assert entry.detail == {"lob": "care"} | params


async def test_who_asked_reads_its_own_answer_unaudited_and_another_does_not(site: Site) -> None:
    id_ = await held(site)
    async with (
        await site.http(["service"], ["*"]) as asks,
        await site.http(["reviewer"], ["care"]) as reviews,
    ):
        assert (await asks.get(f"/v1/reviews/{id_}/answer")).status_code == 200
        assert await entries(site, "read_review") == []
        assert (await reviews.get(f"/v1/reviews/{id_}/answer")).status_code == 200
    assert len(await entries(site, "read_review")) == 1


async def test_a_read_of_an_interaction_keeps_its_reason(site: Site) -> None:
    id_ = await held(site)
    await site.stored()
    async with await site.http(["reviewer"], ["care"]) as http:
        task = (await http.get(f"/v1/reviews/{id_}")).json()
        where = f"/v1/interactions/{task['interaction_id']}"
        assert (await http.get(where, params={"reason": "dispute 17"})).status_code == 200
        assert (await http.get(where, params={"reason": ""})).status_code == 400
    (entry,) = await entries(site, "read_interaction")
    assert entry.detail == {"lob": "care", "reason": "dispute 17"}


async def test_the_gateway_tells_of_each_key_and_of_no_refused_one(site: Site) -> None:
    seen: list[tuple[str, Any]] = []
    site.gateway._saw = lambda key_id, asked: seen.append((key_id, asked["client"][0]))
    async with await site.http(["service"], ["*"]) as http:
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.get("/health")).status_code == 200
        refused = await http.get("/v1/models", headers={"authorization": "Bearer sb-no"})
        assert refused.status_code == 401
        chat = {"model": "care", "messages": [{"role": "user", "content": "Hello"}]}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
    transport = httpx.ASGITransport(site.gateway, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sb", headers=http.headers
    ) as elsewhere:
        assert (await elsewhere.get("/v1/models")).status_code == 200
    (key_id,) = {key_id for key_id, _ in seen}
    assert key_id.startswith("key_")
    assert [peer for _, peer in seen] == ["127.0.0.1", "127.0.0.1", "192.0.2.7"]
