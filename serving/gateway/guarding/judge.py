"""A judge model on another server: which of the claims that rules flagged stand."""

from collections.abc import Sequence

import orjson

from serving.errors import UpstreamFailed
from serving.fallback.upstream import Upstream
from serving.guards.claims import judging
from serving.guards.verdict import Finding, GuardContext

TOKENS = 512


async def upheld(
    upstream: Upstream,
    text: str,
    findings: Sequence[Finding],
    context: GuardContext,
    id: str,  # noqa: A002
) -> list[Finding]:
    """Ask a judge model about findings, and about nothing else.

    Args:
        upstream: Where it is.
        text: What was checked.
        findings: What the rules found in it; at least one.
        context: What it was checked against.
        id: The request's id, for the upstream's logs.

    Returns:
        Those that it does not call supported (`judging.upheld`).

    Raises:
        UpstreamFailed: It does not answer, or not with a chat completion.
    """
    asked = {
        "messages": judging.messages(text, findings, context),
        "temperature": 0,
        "max_tokens": TOKENS,
    }
    content = await upstream.completion(asked, id=id)
    said = _said(content)
    if said is None:
        raise UpstreamFailed(f"{upstream.name} sent no chat completion.")
    return judging.upheld(said, findings)


def _said(content: bytes) -> str | None:
    """Return the text of a chat completion, None where it is none."""
    try:
        said = orjson.loads(content)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return None
    return said if isinstance(said, str) else None
