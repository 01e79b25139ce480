"""Tells people, by a webhook, what happened that they should know of.

The body is JSON. With a secret, `x-switchboard-signature` is `sha256=` and the HMAC-SHA256 of the
body, in hexadecimal, as GitHub and Stripe sign theirs; `sent_at` in the body lets a receiver refuse
what is old. Whatever goes wrong here stops nothing: the caller is told in words.
"""

import hashlib
import hmac
import json
import time
from typing import Any

import httpx

SIGNATURE = "x-switchboard-signature"
IDEMPOTENCY = "idempotency-key"
TIMEOUT_S = 5.0


def sign(secret: str, body: bytes) -> str:
    """Return the signature header of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def post(
    url: str | None,
    secret: str | None,
    event: dict[str, Any],
    timeout_s: float = TIMEOUT_S,
    *,
    key: str | None = None,
) -> str | None:
    """Send an event.

    Args:
        url: Where to; None or empty sends nothing.
        secret: Signs the body; None or empty leaves it unsigned.
        event: What happened.
        timeout_s: Longest wait for an answer.
        key: The same in each try to send one event, as the header `idempotency-key`.

    Returns:
        None if it was taken or there is nowhere to send it; else what went wrong, without the
        address, which may hold a password.
    """
    if not url:
        return None
    body = json.dumps({**event, "sent_at": time.time()}).encode()
    headers = {"content-type": "application/json"}
    if secret:
        headers[SIGNATURE] = sign(secret, body)
    if key:
        headers[IDEMPOTENCY] = key
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as client:
            answer = await client.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        return f"the webhook was not reached ({type(exc).__name__})"
    return None if answer.is_success else f"the webhook answers {answer.status_code}"
