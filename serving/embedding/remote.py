"""Embeddings and ranks of an upstream: behind a circuit breaker, and redacted where it asks so."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.embedding.results import Embedded, Ranked, Vectors
from serving.errors import InvalidRequest, Unavailable, UpstreamFailed
from serving.fallback.circuit_breaker import Breaker
from serving.fallback.upstream import Upstream
from serving.observability import metrics
from serving.redaction.recognition import mark

AT_ONCE = 64
"""Texts of one question to an upstream."""
_OF_THE_REQUEST = (400, 413, 422)


class RemoteModel:
    """A model that an upstream runs.

    Args:
        upstream: Its connections.
        breaker: Its circuit breaker.
    """

    def __init__(self, upstream: Upstream, breaker: Breaker) -> None:
        self._upstream, self._breaker = upstream, breaker
        self.name = upstream.name
        self.key = f"{upstream.name} {upstream.model}"[:200]
        """What its vectors are stored under."""

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Ask for the embedding of each text.

        Raises:
            InvalidRequest: It refuses the texts.
            UpstreamFailed: It cannot be reached, fails, or its answer is not OpenAI's.
            Unavailable: It failed several times and is not asked for a while.
        """
        found, tokens = [], 0
        for start in range(0, len(texts), AT_ONCE):
            part = await self._hidden(texts[start : start + AT_ONCE])
            answer = await self._ask("/embeddings", {"input": part})
            found.append(self._vectors(answer, len(part)))
            tokens += _tokens(answer)
        if len({one.shape[1] for one in found}) != 1:
            raise UpstreamFailed(f"{self.name} sent embeddings that are unequal.")
        return Embedded(np.concatenate(found), tokens)

    async def rank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Ask for the score of each document, at once, since scores of two answers may differ.

        Raises:
            InvalidRequest: It refuses the texts.
            UpstreamFailed: It cannot be reached, fails, or its answer is no ranking.
            Unavailable: It failed several times and is not asked for a while.
        """
        query, *documents = await self._hidden([query, *documents])
        asked = {"query": query, "documents": documents, "top_n": len(documents)}
        answer = await self._ask("/rerank", asked)
        try:
            scores = {int(row["index"]): float(row["relevance_score"]) for row in answer["results"]}
            return Ranked([scores[n] for n in range(len(documents))], _tokens(answer))
        except (KeyError, TypeError, ValueError) as exc:
            raise UpstreamFailed(f"{self.name} sent no ranking.", reason=repr(exc)) from exc

    async def _hidden(self, texts: Sequence[str]) -> list[str]:
        """The texts as the upstream may see them: what a value is in its place, always alike."""
        if not self._upstream.redacts:
            return list(texts)
        return await asyncio.to_thread(lambda: [mark([text]).texts[0] for text in texts])

    async def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        permit = self._breaker.ask()
        if permit is None:
            raise Unavailable(f"{self.name} failed several times; it is asked again later.")
        try:
            status, answer = await self._upstream.ask(path, body)
            if status not in (200, *_OF_THE_REQUEST):
                raise UpstreamFailed(f"{self.name} refused ({status}).")
            permit.success()
        except UpstreamFailed:
            permit.failure()
            raise
        finally:
            permit.cancel()  # nothing, if it was used
            metrics.BREAKER.labels(f"{self.name}{path}").set(self._breaker.state)
        if status != 200:
            said = answer.get("error")
            reason = said.get("message") if isinstance(said, dict) else None
            raise InvalidRequest(f"{self.name} refused ({status}): {str(reason)[:500]}")
        return answer

    def _vectors(self, answer: Mapping[str, Any], count: int) -> Vectors:
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            found: Vectors = np.array([row["embedding"] for row in rows], np.float32)
        except (KeyError, TypeError, ValueError) as exc:
            raise UpstreamFailed(f"{self.name} sent no embeddings.", reason=repr(exc)) from exc
        if found.ndim != 2 or len(found) != count or not found.shape[1]:
            raise UpstreamFailed(f"{self.name} sent embeddings that are too few or unequal.")
        if not np.isfinite(found).all():
            raise UpstreamFailed(f"{self.name} sent embeddings that are no numbers.")
        return found


def _tokens(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage")
    count = usage.get("total_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0
