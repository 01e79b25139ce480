"""/v1/files as OpenAI's client uses it."""

import json
from typing import Any

import httpx
import openai
import pytest

from serving.store.files import files
from serving.store.files.records import FileRecord, new_id, scope_of
from tests.serving.gateway.conftest import Site


async def client(site: Site, lobs: list[str], roles: list[str] | None = None) -> openai.AsyncOpenAI:
    http = await site.http(roles or ["service"], lobs)
    key = http.headers.pop("authorization").removeprefix("Bearer ")
    return openai.AsyncOpenAI(api_key=key, base_url="http://sb/v1", http_client=http, max_retries=0)


def batch(*ids: str, **body: Any) -> bytes:
    rows = [
        {
            "custom_id": id_,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "care", "messages": [{"role": "user", "content": id_}]} | body,
        }
        for id_ in ids
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def on_disk(site: Site) -> list[str]:
    root = site.files.storage._root
    return sorted(site.files.storage._filesystem.find(root))


async def test_a_file_is_uploaded_listed_read_and_deleted(site: Site) -> None:
    async with await client(site, ["care"]) as mine:
        content = batch("a", "b")
        made = await mine.files.create(file=("in.jsonl", content), purpose="batch")
        assert (made.object, made.bytes, made.filename) == ("file", len(content), "in.jsonl")
        assert (made.purpose, made.status) == ("batch", "processed")
        assert await mine.files.retrieve(made.id) == made
        assert (await mine.files.content(made.id)).content == content
        assert [one.id async for one in mine.files.list()] == [made.id]
        assert len(on_disk(site)) == 1
        assert (await mine.files.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await mine.files.retrieve(made.id)
        assert [one async for one in mine.files.list()] == []
    assert on_disk(site) == []


async def test_lists_are_paged_in_either_order_and_by_purpose(site: Site) -> None:
    chat = {"messages": [{"role": r, "content": "x"} for r in ("user", "assistant")]}
    async with await client(site, ["care"]) as mine:
        made = [
            (await mine.files.create(file=("f", batch("a")), purpose="batch")).id for _ in range(5)
        ]
        tuned = await mine.files.create(file=json.dumps(chat).encode(), purpose="fine-tune")
        newest = [one.id async for one in mine.files.list(limit=2)]
        assert newest == [tuned.id, *reversed(made)]
        oldest = [one.id async for one in mine.files.list(limit=2, order="asc", purpose="batch")]
        assert oldest == made
        after = await mine.files.list(after=made[3], order="asc", limit=1)
        assert [one.id for one in after.data] == [made[4]]
        assert [one.id async for one in mine.files.list(purpose="fine-tune")] == [tuned.id]


async def test_a_file_is_seen_by_keys_that_cover_all_its_lines_only(site: Site) -> None:
    async with await client(site, ["care"]) as care, await client(site, ["sales"]) as sales:
        made = await care.files.create(file=("f", batch("a")), purpose="batch")
        for attempt in (sales.files.retrieve, sales.files.content, sales.files.delete):
            with pytest.raises(openai.NotFoundError):
                await attempt(made.id)
        assert [one async for one in sales.files.list()] == []
        async with await client(site, ["*"]) as all_lines:
            assert (await all_lines.files.retrieve(made.id)).id == made.id
            wide = await all_lines.files.create(file=("f", batch("a")), purpose="batch")
        with pytest.raises(openai.NotFoundError):
            await care.files.retrieve(wide.id)
        async with await client(site, ["care", "sales"], ["trainer"]) as both:
            assert [one.id async for one in both.files.list()] == [made.id]
    async with await client(site, ["*"], ["reviewer"]) as reviewer:
        with pytest.raises(openai.PermissionDeniedError):
            await reviewer.files.list()


async def test_the_first_faulty_lines_are_named_and_nothing_is_kept(site: Site) -> None:
    async with await client(site, ["care"]) as mine:
        content = batch("a", "b", "a") + b"\n{\n" + batch("c", stream=True)
        with pytest.raises(openai.BadRequestError) as caught:
            await mine.files.create(file=("f", content), purpose="batch")
        assert all(f"line {n}: " in str(caught.value) for n in (3, 4, 5))
        assert caught.value.param == "file"
        with pytest.raises(openai.BadRequestError, match="purpose"):
            await mine.files.create(file=("f", batch("a")), purpose="vision")
        assert [one async for one in mine.files.list()] == []
    assert on_disk(site) == []


async def test_sizes_and_quotas_are_limits(site: Site) -> None:
    big = batch("a" * 300, padding="x" * 900_000)
    async with await client(site, ["care"]) as mine:
        for _ in range(3):
            await mine.files.create(file=("f", big), purpose="batch")
        with pytest.raises(openai.APIStatusError, match="quota") as full:
            await mine.files.create(file=("f", big), purpose="batch")
        assert full.value.status_code == 413
        with pytest.raises(openai.APIStatusError, match="exceeds the limit") as large:
            await mine.files.create(file=("f", b"x" * (2 << 20)), purpose="batch")
        assert large.value.status_code == 413
        page = await mine.files.list()
        await mine.files.delete(page.data[0].id)
        await mine.files.create(file=("f", big), purpose="batch")
    assert len(on_disk(site)) == 3


async def test_an_undeclared_body_is_cut_at_the_limit(site: Site) -> None:
    given = 0

    async def endless() -> Any:
        nonlocal given
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        yield head
        while given < 64 << 20:
            given += 1 << 16
            yield b"x" * (1 << 16)

    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post(
            "/v1/files",
            content=endless(),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
    assert answer.status_code == 413
    assert given < 2 << 20


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 400),
        ({"content-type": "multipart/form-data"}, b"", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"nonsense", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b--\r\n", 400),
        ({"content-type": "multipart/form-data; boundary=b", "content-encoding": "gzip"}, b"", 415),
    ],
)
async def test_other_bodies_get_openais_error_shape(
    site: Site, headers: dict[str, str], content: bytes, status: int
) -> None:
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post("/v1/files", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_sweep_removes_what_a_crash_left(site: Site) -> None:
    async with await client(site, ["care"]) as mine:
        made = await mine.files.create(file=("f", batch("a")), purpose="batch")
    await files.hide(site.db, made.id)
    fresh = FileRecord(
        id=new_id("file-"), key_id="k", scope=scope_of(["care"]), purpose="batch", filename="f",
        bytes=1,
    )  # fmt: skip
    await files.reserve(site.db, fresh, None)
    assert len(on_disk(site)) == 1
    await site.files.sweep()
    assert on_disk(site) == []
    assert await files.leftovers(site.db) == []
    await files.finish(site.db, fresh.id)
    assert (await files.get(site.db, fresh.id, None)).id == fresh.id


async def test_no_key_no_files(site: Site) -> None:
    transport = httpx.ASGITransport(site.gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://sb") as nobody:
        assert (await nobody.get("/v1/files")).status_code == 401
        assert (await nobody.post("/v1/files", files={"file": b"x"})).status_code == 401
