"""What OpenAI's clients, proxies and browsers expect of any endpoint."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from serving.asgi import Message
from serving.config.prompts import load
from serving.config.settings import Settings
from tests.serving.gateway.conftest import LOBS, Site

CHAT = {"model": "care", "messages": [{"role": "user", "content": "hi"}]}
TASK = {"lob": "care", "conversation": [{"role": "customer", "text": "hi"}]}


@pytest.mark.parametrize("name", ["base", "care", "sales"])
async def test_a_model_is_found_by_its_name(site: Site, name: str) -> None:
    async with await site.http(["service"], ["*"]) as http:
        listed = (await http.get("/v1/models")).json()["data"]
        found = await http.get(f"/v1/models/{name}")
    assert found.status_code == 200
    assert found.json() == next(model for model in listed if model["id"] == name)


@pytest.mark.parametrize("name", ["none", "org/none", "care@99", "sales"])
async def test_a_model_that_is_not_there_or_not_covered_is_404(site: Site, name: str) -> None:
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["/v1/models/", "//v1//models", "/v1/models"])
async def test_slashes_do_not_matter_and_nothing_redirects(site: Site, path: str) -> None:
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.get(f"http://sb{path}")
        posted = await http.post(f"http://sb{'/v1/chat/completions/'}", json=CHAT)
    assert (answer.status_code, posted.status_code) == (200, 200)
    assert site.asked[-1][0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("GET", "/v1/feedback", "POST"),
    ],
)
async def test_another_method_is_405_and_says_which(
    site: Site, method: str, path: str, allowed: str
) -> None:
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_gzipped_bodies_are_read_within_the_limit(site: Site) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    async with await site.http(["service"], ["*"]) as http:
        body = b'{"model": "care", "messages": [{"role": "user", "content": "hi"}]}'
        read = await http.post("/v1/chat/completions", content=gzip.compress(body), headers=headers)
        bomb = gzip.compress(b" " * (site.gateway.settings.http.body_limit_bytes + 1))
        assert len(bomb) < 100_000
        refused = await http.post("/v1/chat/completions", content=bomb, headers=headers)
        broken = await http.post("/v1/chat/completions", content=b"no gzip", headers=headers)
        cut = gzip.compress(body)[:-4]
        half = await http.post("/v1/feedback", content=cut, headers=headers)
        brotli = await http.post(
            "/v1/feedback", content=body, headers=headers | {"content-encoding": "br"}
        )
    statuses = [a.status_code for a in (read, refused, broken, half, brotli)]
    assert statuses == [200, 413, 400, 400, 415]


async def test_pages_of_listed_origins_may_call_and_no_others(site: Site) -> None:
    settings = Settings.model_validate(
        site.gateway.settings.model_dump() | {"http": {"cors_origins": ["https://desk.example"]}}
    )
    preflight = {
        "origin": "https://desk.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with await site.http(["service"], ["*"]) as http:
        assert (await http.options("/v1/suggestions", headers=preflight)).status_code != 200
        site.gateway.configure(settings, load(Path("configs/prompts"), LOBS))
        asked = await http.options("/v1/suggestions", headers=preflight)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://desk.example"
        answer = await http.post("/v1/suggestions", json=TASK, headers=preflight)
        assert answer.headers["access-control-allow-origin"] == "https://desk.example"
        foreign = await http.options(
            "/v1/suggestions", headers=preflight | {"origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in foreign.headers


async def test_several_candidates_are_sampled_unless_the_temperature_is_named(site: Site) -> None:
    async with await site.http(["service"], ["*"]) as http:
        for more in ({}, {"n": 2}, {"n": 2, "temperature": 0.2}):
            answer = await http.post("/v1/suggestions", json=TASK | more)
            assert answer.status_code == 200, answer.text
    assert [body["temperature"] for _, body in site.asked] == [0, 0.7, 0.2]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"metadata": {"ticket": "7"}}, 200),
        ({"metadata": {"ticket": 7}}, 400),
        ({"metadata": "ticket"}, 400),
    ],
)
async def test_tasks_take_metadata(site: Site, fields: dict[str, Any], status: int) -> None:
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.post("/v1/suggestions", json=TASK | fields)
    assert answer.status_code == status
    assert not any("metadata" in body for _, body in site.asked)


@pytest.mark.parametrize(
    ("headers", "status"),
    [([], 401), ([(b"content-length", b"999999999")], 401)],
)
async def test_a_refusal_comes_before_the_body_is_asked_for(
    site: Site, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/feedback", "headers": headers}
    await site.gateway(scope, receive, send)
    assert sent[0]["status"] == status
    key = site.keys.get("k") or (await site.http(["service"], ["*"])).headers["authorization"]
    large = [(b"authorization", key.encode()), (b"content-length", b"999999999")]
    await site.gateway(scope | {"headers": large}, receive, send)
    assert sent[2]["status"] == 413
