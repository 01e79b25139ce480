"""Erasure through the whole gateway, with real keys and a real store."""

import asyncio
from contextlib import suppress
from pathlib import Path

from serving.api import erasures
from serving.encryption.sealing import Sealer
from serving.erasure.journals import Cleaner
from serving.store import interactions
from serving.store.erasure import erasures as rows
from tests.serving.conftest import Interactions
from tests.serving.gateway.conftest import Site


async def test_only_an_admin_of_the_line_erases_and_what_is_erased_is_gone(
    site: Site, tmp_path: Path, interaction: Interactions
) -> None:
    folder = tmp_path / "journal"
    router = erasures.router(site.db, folder, None, site.files.storage)
    site.gateway._api_app.include_router(router)  # type: ignore[attr-defined]
    name = site.journal.folder.name
    cleaner = Cleaner(site.db, site.drainer, folder, name, Sealer(None, "journal").open)
    cleaning = asyncio.create_task(cleaner.run())
    one = interaction(conversation_id="c/1 ü", lob="care", request={"user": "anna"})
    await interactions.save(site.db, [one])
    path = "/v1/conversations/c%2F1%20%C3%BC"
    async with await site.http(["service", "agent", "trainer"], ["*"]) as other:
        refused = await other.delete(path, params={"reason": "asked"})
        assert refused.status_code == 403
        assert refused.json()["error"]["type"]
    async with await site.http(["admin"], ["sales"]) as elsewhere:
        for lob in ({}, {"lob": "care"}):
            answer = await elsewhere.delete(path, params={"reason": "asked", **lob})
            assert answer.status_code == 403
    async with await site.http(["admin"], ["*"]) as admin:
        without = await admin.delete(path)
        assert without.status_code == 400
        assert "reason" in without.json()["error"]["message"]
        assert await interactions.get(site.db, one.id) == one
        done = await admin.delete(path, params={"reason": "asked"})
        assert done.status_code == 200, done.text
        assert done.json()["counts"]["interactions"] == 1
        again = await admin.delete(path, params={"reason": "asked"})
        assert (again.status_code, again.json()["id"]) == (200, done.json()["id"])
        subject = await admin.delete("/v1/subjects/anna", params={"reason": "asked"})
        assert subject.status_code == 200, subject.text
        assert subject.json()["counts"].get("interactions", 0) == 0
    assert await interactions.get(site.db, one.id) is None
    assert await rows.unfinished(site.db) == []
    cleaning.cancel()
    with suppress(asyncio.CancelledError):
        await cleaning
