"""A scrape of any replica has all of them, and never waits for one that is gone."""

import asyncio
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, make_asgi_app
from prometheus_client.parser import text_string_to_metric_families

from serving.gateway import metrics_page
from serving.gateway.metrics_page import MetricsPage
from serving.observability.pages import Pages
from tests.serving.gateway.conftest import Site


def replica(name: str, value: float, exchange: Any) -> MetricsPage:
    registry = CollectorRegistry()
    Gauge("held", "Held.", registry=registry).set(value)
    return MetricsPage(make_asgi_app(registry=registry), name, exchange)


async def scraped(app: Any, **headers: str) -> dict[str, float]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://sb", headers=headers
    ) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    (family,) = text_string_to_metric_families(answer.text)
    return {sample.labels["replica"]: sample.value for sample in family.samples}


async def test_whichever_replica_is_scraped_the_page_has_all() -> None:
    pages = Pages()

    async def exchange(name: str, page: str) -> list[str]:
        return pages.exchange(name, page)

    one, two = replica("r1", 1, exchange), replica("r2", 2, exchange)
    publishing = asyncio.create_task(two.publish())
    await asyncio.sleep(0)
    assert await scraped(one) == {"r1": 1, "r2": 2}
    assert await scraped(two, accept="application/openmetrics-text") == {"r1": 1, "r2": 2}
    publishing.cancel()


async def test_without_the_others_a_replica_shows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: str) -> list[str]:
        raise ConnectionError

    async def hung(*_: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(metrics_page, "EXCHANGE_S", 0.01)
    assert await scraped(replica("r1", 1, down)) == {"r1": 1}
    assert await scraped(replica("r1", 1, hung)) == {"r1": 1}


async def test_the_gateway_answers_a_scrape_with_it(site: Site) -> None:
    async def alone(*_: str) -> list[str]:
        return []

    site.gateway._metrics_page = replica("r1", 7, alone)
    async with await site.http(["service"], ["*"]) as http:
        answer = await http.get("/metrics")
        assert 'held{replica="r1"} 7.0' in answer.text
        del http.headers["authorization"]
        assert (await http.get("/metrics")).status_code == 401
