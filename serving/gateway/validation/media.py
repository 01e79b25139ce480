"""Images, audio and video in a request: refused, except from hosts that the configuration names.

A multimodal model's engine fetches what a request points to. Without a list of hosts a client
could so read whatever the server can reach: the cloud's metadata, a database's page, a file. A
part of a message passes as text only where it has nothing but a text's keys, since vLLM tells a
part's kind by its keys where `type` is missing.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

from serving.errors import InvalidRequest

INLINE = "data:"
"""Among the hosts: media that the request itself holds."""

_TEXT = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_text": "text",
    "summary_text": "text",
}
_BESIDE_TEXT = frozenset({"type", "annotations", "logprobs"})
_MEDIA = {
    "image_url": "image_url",
    "input_image": "image_url",
    "audio_url": "audio_url",
    "video_url": "video_url",
}
_PLAIN_URL = re.compile(r"[a-z0-9:/._~%?&=+,;!$'()*-]+", re.IGNORECASE)
"""Nothing that two parsers could read differently: no backslash, @, #, blank, control character."""


def check(request: dict[str, Any], hosts: Collection[str]) -> None:
    """Check the parts of a request's messages.

    Args:
        request: The body for one of vLLM's endpoints.
        hosts: From where media may come; `data:` allows those inside the request.

    Raises:
        InvalidRequest: A part is no text, and not media from such a host; names it.
    """
    for field, index, part in _parts(request):
        if isinstance(part, str) or _is_text(part):
            continue
        where = f"{field}[{index}]"
        if not isinstance(part, dict):
            raise InvalidRequest("A part of a message is a text or an object.", param=where)
        url = _url(part)
        if url is None or not _may_come(url, hosts):
            allowed = ", ".join(hosts) or "none: this server takes text only"
            raise InvalidRequest(
                f"A message's part is neither a text nor media from an allowed host ({allowed}).",
                param=where,
            )


def _parts(request: dict[str, Any]) -> Iterator[tuple[str, int, Any]]:
    for field, keys in (("messages", ("content",)), ("input", ("content", "output", "summary"))):
        items = request.get(field)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if not isinstance(item, dict):
                raise InvalidRequest("A message is an object.", param=f"{field}[{index}]")
            for key in keys:
                content = item.get(key)
                if isinstance(content, list):
                    for part in content:
                        yield field, index, part
                elif not isinstance(content, str | None):
                    raise InvalidRequest(
                        "A message's content is a text or a list of parts.",
                        param=f"{field}[{index}]",
                    )


def _is_text(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    key = _TEXT.get(kind) if isinstance(kind, str) else None
    return (
        key is not None and isinstance(part.get(key), str) and part.keys() <= {key, *_BESIDE_TEXT}
    )


def _url(part: dict[str, Any]) -> str | None:
    """Where a part's media is, or None if it is of no known form."""
    kind = part.get("type")
    if kind == "input_audio" and part.keys() == {"type", "input_audio"}:
        return INLINE
    key = _MEDIA.get(kind) if isinstance(kind, str) else None
    if key is None or not part.keys() <= {"type", key, "detail"}:
        return None
    value = part.get(key)
    if isinstance(value, dict):
        value = value.get("url") if value.keys() <= {"url", "detail"} else None
    return value if isinstance(value, str) else None


def _may_come(url: str, hosts: Collection[str]) -> bool:
    if url[: len(INLINE)].lower() == INLINE:
        return INLINE in hosts
    if not _PLAIN_URL.fullmatch(url):
        return False
    try:
        parsed = urlsplit(url)
        port_is_usual = parsed.port in (None, 80, 443)
    except ValueError:
        return False
    return (
        parsed.scheme in {"http", "https"}
        and "@" not in parsed.netloc
        and port_is_usual
        and parsed.hostname in hosts
    )
