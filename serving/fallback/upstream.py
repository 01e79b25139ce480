"""An external OpenAI-compatible server that answers where our engine cannot.

"Another model" is an upstream too: a second Switchboard, or `vllm serve` with a smaller model. The
request goes out with our own headers, so a caller's credentials stay here, and with the fields of
OpenAI's API only. The answer comes back as ASGI messages with our response id and the upstream's
name in `model`, one message an event, so that all that follows treats it like the engine's.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from serving import endpoints
from serving.asgi import Message, Send
from serving.capture.interaction import DONE
from serving.config import secrets
from serving.config.lobs import Upstream as UpstreamSettings
from serving.errors import UpstreamFailed
from serving.fallback import veiled
from serving.redaction.veil import Veil
from serving.store.records import UPSTREAM

CONNECT_S = 5.0
READ_GRACE_S = 1.0  # the first byte's limit is kept by the caller; this is between two chunks

_COMMON = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "model",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "user",
    }
)
FIELDS: dict[str, frozenset[str]] = {
    endpoints.CHAT_COMPLETIONS: _COMMON
    | {
        "function_call",
        "functions",
        "max_completion_tokens",
        "messages",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "tool_choice",
        "tools",
        "top_logprobs",
    },
    endpoints.COMPLETIONS: _COMMON | {"best_of", "echo", "prompt", "suffix"},
}
"""By endpoint, the fields that any upstream understands. Those that store data or choose a price
in the upstream's account (`store`, `metadata`, `service_tier`, …) are left out."""


class Upstream:
    """A connection pool to one upstream.

    Args:
        name: Its name in the configuration.
        settings: Where it is and how to ask it.
    """

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = f"{UPSTREAM}{name}"
        self.timeout_s = settings.timeout_s
        self.model = settings.model
        self._pass_fields = frozenset(settings.pass_fields)
        self.redacts = settings.redact
        headers = {"content-type": "application/json", "user-agent": "switchboard"}
        if settings.api_key is not None:
            secret = secrets.resolve(settings.api_key, f"upstreams.{name}.api_key")
            headers["authorization"] = f"Bearer {secret}"
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            headers=headers,
            timeout=httpx.Timeout(
                settings.timeout_s + READ_GRACE_S, connect=min(CONNECT_S, settings.timeout_s)
            ),
            limits=httpx.Limits(max_connections=settings.max_connections),
        )

    def body(self, path: str, request: Mapping[str, Any]) -> bytes:
        """The body that the upstream gets.

        Args:
            path: The endpoint, a key of `FIELDS`.
            request: The engine's request.
        """
        wanted = FIELDS[path] | self._pass_fields
        kept = {name: value for name, value in request.items() if name in wanted}
        return orjson.dumps({**kept, "model": self.model})

    async def completion(self, request: Mapping[str, Any], *, id: str) -> bytes:  # noqa: A002
        """Ask for a chat completion of our own, and return it whole.

        Args:
            request: Its body, without `model`.
            id: The request's id, for the upstream's logs.

        Raises:
            UpstreamFailed: As `answer`, or it refuses.
        """
        status, content = 0, b""

        async def take(message: Message) -> None:
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        path = endpoints.CHAT_COMPLETIONS
        await self.answer(path, self.body(path, request), take, id=id, stream=False)
        if status != 200:
            raise UpstreamFailed(f"{self.name} refused ({status}).")
        return content

    async def ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Ask another endpoint of it, of those whose answers are not chats.

        Args:
            path: Below /v1, such as /embeddings.
            body: Without `model`.

        Returns:
            The status, and the answer; an empty one where a refusal is no JSON object.

        Raises:
            UpstreamFailed: It cannot be reached, or its answer is no JSON object.
        """
        content = orjson.dumps({**body, "model": self.model})
        try:
            response = await self._client.post(path, content=content)
        except httpx.HTTPError as exc:
            reason = str(exc) or type(exc).__name__
            raise UpstreamFailed(f"{self.name} does not answer.", reason=reason) from exc
        try:
            return response.status_code, self._object(response.content)
        except UpstreamFailed:
            if response.status_code == 200:
                raise
            return response.status_code, {}

    async def answer(
        self,
        path: str,
        body: bytes,
        send: Send,
        *,
        id: str,  # noqa: A002
        stream: bool,
        traceparent: bytes | None = None,
        model: str | None = None,
    ) -> None:
        """Ask, and send the answer on as it comes.

        Args:
            path: The endpoint, a key of `FIELDS`.
            body: What `body` made.
            send: Takes ASGI messages.
            id: The answer's id, instead of the upstream's; also sent as `x-request-id`, to find
                the request in the upstream's logs.
            stream: Whether the request asks for a stream.
            traceparent: The span that the upstream's are part of.
            model: The version that it answers for, to be named in the answer; None: it is named.

        Raises:
            UpstreamFailed: It cannot be reached, stops midway, or its answer is not OpenAI's; or
                the request holds what cannot be redacted for it.
        """
        veil = None
        if self.redacts:
            body, veil = await asyncio.to_thread(veiled.hidden, body, self.name)
        names = {"id": id, "model": model or self.name}
        url = path.removeprefix("/v1")
        headers = {"x-request-id": id}
        if traceparent is not None:
            headers["traceparent"] = traceparent.decode()
        try:
            async with self._client.stream("POST", url, content=body, headers=headers) as response:
                if stream and response.status_code == 200:
                    await self._stream(response, send, names, veil)
                else:
                    await self._whole(response, send, names, veil)
        except httpx.HTTPError as exc:
            reason = str(exc) or type(exc).__name__
            raise UpstreamFailed(f"{self.name} does not answer.", reason=reason) from exc

    async def _whole(
        self, response: httpx.Response, send: Send, names: dict[str, str], veil: Veil | None
    ) -> None:
        content = await response.aread()
        if response.status_code == 200:
            answer = self._object(content)
            content = orjson.dumps({**(veiled.lifted(answer, veil) if veil else answer), **names})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        status = response.status_code
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _stream(
        self, response: httpx.Response, send: Send, names: dict[str, str], veil: Veil | None
    ) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        lifting = veiled.Lifting(veil) if veil else None
        async for data in _events(response.aiter_bytes()):
            if data == b"[DONE]":
                await send({"type": "http.response.body", "body": DONE, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            event = self._object(data)
            if "error" not in event:
                # `choices` early: response.py knows the chunk with the token counts by its bytes.
                event = {"id": "", "choices": [], **event, **names}
                if lifting is not None:
                    lifting.lift(event)
            chunk = b"data: %b\n\n" % orjson.dumps(event)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        raise UpstreamFailed(f"{self.name} ended its stream without [DONE].")

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as exc:
            raise UpstreamFailed(f"{self.name} sent what is not JSON: {exc}") from exc
        if not isinstance(value, dict):
            raise UpstreamFailed(f"{self.name} sent JSON that is not an object.")
        return value

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of server-sent events, however the network cut them; comments are left out.

    Lines end in LF or CRLF: WHATWG HTML, 9.2 "Server-sent events". OpenAI's data is one line.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
