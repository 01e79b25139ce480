"""`/metrics` of all replicas, whichever of them is asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST

from serving import endpoints
from serving.asgi import App, Message, Receive, Scope, Send
from serving.observability import pages

EXCHANGE_S = 2.0
logger = logging.getLogger(__name__)

Exchange = Callable[[str, str], Awaitable[list[str]]]
"""Gives a replica's page to all; returns the others'."""


class MetricsPage:
    """An ASGI application that answers a scrape.

    Args:
        engine_app: vLLM's app, whose page has vLLM's metrics and ours.
        replica: This replica's name.
        exchange: Gives its page to the others, for theirs. Where it fails, the page has this
            replica's metrics only: a scrape must not hang on what it is to find out.
    """

    def __init__(self, engine_app: App, replica: str, exchange: Exchange) -> None:
        self._engine_app = engine_app
        self._replica = replica
        self._exchange = exchange

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the series of all replicas, each with its label."""
        own = await self._own()
        text = pages.merged([own, *await self._others(own)]).encode()
        headers = [
            (b"content-type", CONTENT_TYPE_LATEST.encode()),
            (b"content-length", b"%d" % len(text)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def publish(self) -> None:
        """Give the others this replica's page, again and again."""
        while True:
            await self._others(await self._own())
            await asyncio.sleep(pages.PUBLISH_S)

    async def _others(self, own: str) -> list[str]:
        try:
            async with asyncio.timeout(EXCHANGE_S):
                return await self._exchange(self._replica, own)
        except Exception as exc:  # Ray's, while the coordinator is down, are many
            logger.debug("metrics of other replicas are not there: %s", type(exc).__name__)
            return []

    async def _own(self) -> str:
        parts: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": endpoints.METRICS,
            "raw_path": endpoints.METRICS.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "client": None,
            "server": None,
        }
        await self._engine_app(scope, receive, send)
        return pages.labelled(b"".join(parts).decode(), self._replica)
