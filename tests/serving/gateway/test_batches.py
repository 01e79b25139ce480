"""/v1/batches as OpenAI's client uses it, with the worker that answers the lines."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest
from openai.types import Batch
from sqlalchemy import update

from serving import auth
from serving.batches import run, worker
from serving.batches.worker import Worker
from serving.store import leases
from serving.store.files import batches
from serving.store.files.tables import BatchRow
from tests.serving.gateway.conftest import PLACES, Site
from tests.serving.gateway.test_files import client
from tests.waiting import PATIENCE_S, until_async


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_S", 0.02)
    monkeypatch.setattr(run, "CHECK_S", 0.02)


@pytest.fixture
async def workers(site: Site) -> AsyncIterator[Callable[[], Worker]]:
    """Starts workers of the site; stops them at the end."""
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(site.files, site.gateway, site.admission, f"w{len(started)}"))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


def lines(n: int, url: str = "/v1/chat/completions", **body: Any) -> bytes:
    said = {"messages": [{"role": "user", "content": "hello"}], "model": "care"}
    rows = [
        {"custom_id": f"line-{i}", "method": "POST", "url": url, "body": said | body}
        for i in range(n)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


async def make(
    mine: openai.AsyncOpenAI, content: bytes, url: str = "/v1/chat/completions", **fields: Any
) -> Batch:
    file = await mine.files.create(file=("in.jsonl", content), purpose="batch")
    return await mine.batches.create(
        input_file_id=file.id,
        endpoint=url,  # type: ignore[arg-type]  # ours are not among OpenAI's
        completion_window="24h",
        **fields,
    )


async def standing(
    mine: openai.AsyncOpenAI, id_: str, ready: Callable[[Batch], bool], what: str
) -> Batch:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not ready(batch := await mine.batches.retrieve(id_)):
        assert asyncio.get_running_loop().time() < deadline, f"{what}: {batch}"
        await asyncio.sleep(0.02)
    return batch


async def ended(mine: openai.AsyncOpenAI, id_: str) -> Batch:
    final = {"completed", "failed", "expired", "cancelled"}
    return await standing(mine, id_, lambda batch: batch.status in final, "it ends")


async def rows(mine: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    content = (await mine.files.content(file_id)).text
    return [json.loads(line) for line in content.splitlines()]


async def test_a_batch_is_answered_in_the_order_of_its_lines(
    site: Site, workers: Callable[[], Worker]
) -> None:
    workers()
    async with await client(site, ["care"]) as mine:
        content = lines(11) + b"\n" + lines(1, max_tokens=-1).replace(b"line-0", b"wrong")
        made = await make(mine, content, metadata={"for": "tests"})
        assert (made.object, made.completion_window) == ("batch", "24h")
        assert made.expires_at == made.created_at + 86_400
        done = await ended(mine, made.id)
        assert (done.status, done.metadata) == ("completed", {"for": "tests"})
        assert done.request_counts is not None
        counts = done.request_counts
        assert (counts.total, counts.completed, counts.failed) == (12, 12, 0)
        found = await rows(mine, done.output_file_id)
        assert [one["custom_id"] for one in found] == [f"line-{i}" for i in range(11)] + ["wrong"]
        assert {one["response"]["body"]["model"] for one in found} == {"care@2"}
        assert len({one["response"]["body"]["id"] for one in found}) == 12
        assert done.in_progress_at <= done.finalizing_at <= done.completed_at  # type: ignore[operator]
        assert [one.id async for one in mine.batches.list()] == [made.id]
        assert await batches.unfinished(site.db) == {}
        assert await batches.done(site.db, made.id) == set()
    assert {body["priority"] for _, body in site.asked} == {2**31 - 2}
    stored = await site.stored()
    assert {one.id for one in stored} == {one["response"]["body"]["id"] for one in found}
    assert {(one.lob, one.task) for one in stored} == {("care", "chat")}


async def test_lines_that_fail_are_in_the_error_file(
    site: Site, workers: Callable[[], Worker]
) -> None:
    workers()
    async with await client(site, ["care"]) as mine:
        content = b"\n".join(
            [
                lines(1),
                lines(1, model="sales").replace(b"line-0", b"other"),
                lines(1, nonsense=1).replace(b"line-0", b"unknown"),
            ]
        )
        done = await ended(mine, (await make(mine, content)).id)
        assert done.request_counts is not None
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)
        wrong = await rows(mine, done.error_file_id)
        assert [one["custom_id"] for one in wrong] == ["other", "unknown"]
        assert [one["response"]["status_code"] for one in wrong] == [403, 400]
        assert wrong[1]["response"]["body"]["error"]["param"] == "nonsense"
        assert [one["custom_id"] for one in await rows(mine, done.output_file_id)] == ["line-0"]


async def test_tasks_are_batches_too(site: Site, workers: Callable[[], Worker]) -> None:
    workers()
    body = {"lob": "care", "conversation": [{"role": "customer", "text": "hello"}]}
    row = {"custom_id": "s", "method": "POST", "url": "/v1/summaries", "body": body}
    async with await client(site, ["care"]) as mine:
        made = await make(mine, json.dumps(row).encode(), "/v1/summaries")
        (found,) = await rows(mine, (await ended(mine, made.id)).output_file_id)
    assert found["response"]["status_code"] == 200
    assert [one.task for one in await site.stored()] == ["summary"]


async def test_a_batch_that_cannot_be_is_refused(site: Site) -> None:
    async with await client(site, ["care"]) as care, await client(site, ["sales"]) as sales:
        file = await care.files.create(file=("f", lines(1)), purpose="batch")
        made = await care.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        attempts: list[tuple[Callable[[], Awaitable[Any]], type[Exception]]] = [
            (lambda: sales.batches.retrieve(made.id), openai.NotFoundError),
            (lambda: sales.batches.cancel(made.id), openai.NotFoundError),
            (lambda: care.files.delete(file.id), openai.ConflictError),
        ]
        for key, id_, url, window, error in (
            (sales, file.id, "/v1/chat/completions", "24h", openai.NotFoundError),
            (care, "file-1", "/v1/chat/completions", "24h", openai.NotFoundError),
            (care, file.id, "/v1/completions", "24h", openai.BadRequestError),
            (care, file.id, "/v1/embeddings", "24h", openai.BadRequestError),
            (care, file.id, "/v1/chat/completions", "1h", openai.BadRequestError),
        ):
            fields: Any = {"input_file_id": id_, "endpoint": url, "completion_window": window}
            attempts.append((lambda key=key, fields=fields: key.batches.create(**fields), error))
        for attempt, error in attempts:
            with pytest.raises(error):
                await attempt()
        assert [one async for one in sales.batches.list()] == []


async def test_a_worker_that_dies_is_replaced_and_each_line_is_answered_once(
    site: Site, workers: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = workers()
    begun: list[int] = []
    kept: list[int] = []
    whole = batches.keep

    async def keep(db: Any, id_: str, line: int, **fields: Any) -> bool:
        if len(begun) == 5:  # kill -9 while the rest of the lines are under way
            await asyncio.Event().wait()
        begun.append(line)
        new = await whole(db, id_, line, **fields)
        kept.append(line)
        return new

    async def hold(*_: Any) -> None:
        return None

    monkeypatch.setattr(batches, "keep", keep)
    monkeypatch.setattr(leases, "release", hold)  # the dead give nothing back
    async with await client(site, ["care"]) as mine:
        made = await make(mine, lines(20))
        await until_async(lambda: len(kept) == 5, "five lines are answered")
        held = await leases.holders(site.db)
        await dying.stop()
        monkeypatch.undo()
        assert batches.lease(made.id) in held
        halfway = await mine.batches.retrieve(made.id)
        assert halfway.status == "in_progress"
        assert halfway.request_counts is not None
        assert halfway.request_counts.completed == 5
        monkeypatch.setattr(worker, "POLL_S", 0.02)
        before = len(site.asked)
        heir = workers()
        await heir.look()
        assert len(site.asked) == before, "the lease of the dead still holds"
        async with site.db.session() as connection:  # its time has passed
            await connection.execute(update(leases.LeaseRow).values(expires_at=0.0))
        done = await ended(mine, made.id)
        assert done.request_counts is not None
        assert (done.status, done.request_counts.completed) == ("completed", 20)
        found = await rows(mine, done.output_file_id)
        assert [one["custom_id"] for one in found] == [f"line-{i}" for i in range(20)]
        assert len(site.asked) - before == 15
    assert len(await site.stored()) == 20, "a line that was asked twice is captured once"


async def test_cancelling_keeps_what_is_done(site: Site, workers: Callable[[], Worker]) -> None:
    workers()
    content = lines(2) + b"\n" + lines(30, model="care@3").replace(b"line-", b"held-")
    site.held.add("care@3")
    async with await client(site, ["care"], ["trainer"]) as mine:
        made = await make(mine, content)
        halfway = await standing(
            mine,
            made.id,
            lambda b: b.request_counts is not None and b.request_counts.completed == 2,
            "two lines are answered",
        )
        assert halfway.status == "in_progress"
        assert (await mine.batches.cancel(made.id)).status == "cancelling"
        done = await ended(mine, made.id)
        assert (done.status, done.error_file_id) == ("cancelled", None)
        assert [one["custom_id"] for one in await rows(mine, done.output_file_id)] == [
            "line-0",
            "line-1",
        ]
        assert (await mine.batches.cancel(made.id)).status == "cancelled"
    assert site.admission.inflight == 0
    assert set(site.left) == {"care@3"}, "the engine was told to stop"


async def test_a_batch_ends_with_its_window(site: Site, workers: Callable[[], Worker]) -> None:
    content = lines(2) + b"\n" + lines(10, model="care@3").replace(b"line-", b"held-")
    site.held.add("care@3")
    async with await client(site, ["care"], ["trainer"]) as mine:
        made = await make(mine, content)
        workers()
        await standing(
            mine,
            made.id,
            lambda b: b.request_counts is not None and b.request_counts.completed == 2,
            "two lines are answered",
        )
        async with site.db.session() as connection:
            await connection.execute(update(BatchRow).values(expires_at=0.0))
        done = await ended(mine, made.id)
        assert done.status == "expired"
        assert done.expired_at is not None
        assert len(await rows(mine, done.output_file_id)) == 2
        late = await rows(mine, done.error_file_id)
        assert [one["custom_id"] for one in late] == [f"held-{i}" for i in range(10)]
        assert {one["error"]["code"] for one in late} == {"batch_expired"}
        with pytest.raises(openai.ConflictError):
            await mine.batches.cancel(made.id)


async def test_a_batch_ends_with_its_key(site: Site, workers: Callable[[], Worker]) -> None:
    async with await client(site, ["care"]) as mine:
        made = await make(mine, lines(3))
        (key,) = [one for one in await auth.list_keys(site.db) if one.lobs == ("care",)]
        async with await client(site, ["*"]) as other:
            await auth.revoke(site.db, key.id)
            await site.gateway._keys.refresh()
            workers()
            done = await ended(other, made.id)
            assert done.errors is not None
            assert done.errors.data is not None
            assert (done.status, done.errors.data[0].code) == ("failed", "key_revoked")
    assert site.asked == []


async def test_a_live_request_takes_a_batchs_place(
    site: Site, workers: Callable[[], Worker]
) -> None:
    workers()
    site.held.add("care@2")
    async with await client(site, ["*"], ["trainer"]) as mine:
        made = await make(mine, lines(PLACES))
        await until_async(lambda: site.admission.inflight == PLACES // 2, "half of it is taken")
        await asyncio.sleep(0.1)
        assert site.admission.inflight == PLACES // 2, "the rest is for who is live"
        live = [
            asyncio.create_task(
                mine.chat.completions.create(
                    model="care", messages=[{"role": "user", "content": "live"}]
                )
            )
            for _ in range(PLACES)
        ]
        await until_async(
            lambda: sum("priority" not in body for _, body in site.asked) == PLACES,
            "all live ones are asked, though the line's queue takes none",
        )
        assert site.admission.inflight == PLACES
        for task in live:
            task.cancel()
        await asyncio.wait(live)
        site.held.clear()
        done = await ended(mine, made.id)
        assert done.request_counts is not None
        assert done.request_counts.completed == PLACES
