"""Slots of an answer that a service of the line's own knows."""

from collections.abc import Mapping

import httpx

from serving.config import secrets
from serving.config.rules import Webhook
from serving.errors import Unavailable

ANSWER_LIMIT = 16_384
"""Bytes of the service's answer."""


class WebhookFailed(Unavailable):
    """The service gave no slots; the message says why, without what it said."""


async def ask(
    client: httpx.AsyncClient, hook: Webhook, key: str, question: Mapping[str, object]
) -> dict[str, str]:
    """Ask a service for slots.

    Args:
        client: It follows no redirection.
        hook: The service.
        key: The configuration's key, for the message where the secret is not there.
        question: What it gets, as JSON.

    Raises:
        WebhookFailed: It cannot be reached in time, or answers anything but an object of texts
            and numbers.
    """
    headers = {}
    if hook.api_key is not None:
        headers["authorization"] = f"Bearer {secrets.resolve(hook.api_key, key)}"
    try:
        async with client.stream(
            "POST", hook.url, json=dict(question), headers=headers, timeout=hook.timeout_s
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise WebhookFailed(f"the webhook answers {answer.status_code}")
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > ANSWER_LIMIT:
                    raise WebhookFailed("the webhook answers too much")
    except httpx.HTTPError as exc:
        raise WebhookFailed(f"the webhook does not answer: {type(exc).__name__}") from exc
    return _slots(body)


def _slots(body: bytes) -> dict[str, str]:
    import orjson

    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise WebhookFailed("the webhook answers no JSON") from exc
    if not isinstance(found, dict) or not all(
        isinstance(value, str | int | float) and not isinstance(value, bool)
        for value in found.values()
    ):
        raise WebhookFailed("the webhook answers no object of texts and numbers")
    return {name: str(value) for name, value in found.items()}
