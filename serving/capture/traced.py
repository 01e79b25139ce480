"""The way of interactions into the store, traced.

A batch holds many requests and comes after they are answered, so it is a trace of its own, linked
to theirs.
"""

import re
from collections.abc import Sequence

from serving.capture.drainer import Sink
from serving.observability.tracing import Tracing

# `Capture.payload` puts it last; a text that holds the same would have its quotes escaped.
_LAST = re.compile(rb'"traceparent":"([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"\}$')
_LAST_BYTES = 80


def traceparents(payloads: Sequence[bytes]) -> list[str]:
    """Return the traces of those payloads whose requests were traced."""
    found = (_LAST.search(payload[-_LAST_BYTES:]) for payload in payloads)
    return [one[1].decode() for one in found if one is not None]


def traced_sink(sink: Sink, tracing: Tracing) -> Sink:
    """Return a sink that traces each batch with a request that was traced."""

    async def store(payloads: list[bytes]) -> None:
        linked = traceparents(payloads)
        if not linked:
            await sink(payloads)
            return
        with tracing.drain(linked, len(payloads)):
            await sink(payloads)

    return store
