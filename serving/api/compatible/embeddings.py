"""`/v1/embeddings` in OpenAI's form and `/v1/rerank` in Jina's, which Cohere's and vLLM's are like.

The texts are the caller's own and of no line, so a key needs a role that asks models and no line.
Nothing is stored.
"""

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from serving import endpoints
from serving.api.access import need
from serving.auth import ApiKey, Role
from serving.embedding.models import Models
from serving.embedding.results import Embedded, Ranked, Vectors
from serving.errors import InvalidRequest, SwitchboardError
from serving.observability import metrics

Text = Annotated[str, Field(min_length=1)]


class EmbeddingsBody(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(extra="forbid")

    model: Text
    input: Text | Annotated[list[Text], Field(min_length=1)] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None


class Document(BaseModel):
    """A document as an object."""

    model_config = ConfigDict(extra="forbid")

    text: Text


class RerankBody(BaseModel):
    """Documents to rank by how well they answer a query."""

    model_config = ConfigDict(extra="forbid")

    model: Text | None = None
    query: Text
    documents: list[Text | Document] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = True


def router(models: Models) -> APIRouter:
    """Make the endpoints.

    Args:
        models: What embeds and ranks.
    """
    routes = APIRouter()

    @routes.post(endpoints.EMBEDDINGS)
    async def _embeddings(request: Request, body: EmbeddingsBody) -> Response:
        _allowed(request)
        texts = _texts(body)
        work = models.embed(body.model, texts, body.dimensions)
        found: Embedded = await _measured("embeddings", work)
        answer = {
            "object": "list",
            "model": body.model,
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
        content = await asyncio.to_thread(_dumped, answer, found.vectors, body.encoding_format)
        return Response(content, media_type="application/json")

    @routes.post(endpoints.RERANK)
    async def _rerank(request: Request, body: RerankBody) -> dict[str, Any]:
        _allowed(request)
        texts = [one.text if isinstance(one, Document) else one for one in body.documents]
        work = models.rank(body.model, body.query, texts)
        found: Ranked = await _measured("rerank", work)
        return {
            "id": f"rerank-{secrets.token_hex(12)}",
            "model": body.model or models.names[-1],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
            "results": [
                {"index": n, "relevance_score": found.scores[n]}
                | ({"document": {"text": texts[n]}} if body.return_documents else {})
                for n in best(found.scores, body.top_n)
            ],
        }

    return routes


def best(scores: list[float], most: int | None) -> list[int]:
    """Return the places of scores from the greatest on, at most so many; equal ones in order."""
    return sorted(range(len(scores)), key=lambda n: -scores[n])[:most]


def _allowed(request: Request) -> None:
    key: ApiKey = request.state.key
    need(key, Role.SERVICE, Role.AGENT, Role.TRAINER)


def _texts(body: EmbeddingsBody) -> list[str]:
    given = [body.input] if isinstance(body.input, str) else body.input
    texts = [one for one in given if isinstance(one, str)]
    if not texts or len(texts) != len(given):
        raise InvalidRequest(
            "`input` must be a text or a list of texts: numbers of tokens mean another text to "
            "each model.",
            param="input",
        )
    return texts


async def _measured(endpoint: str, work: Awaitable[Any]) -> Any:
    began, outcome = time.perf_counter(), "failed"
    try:
        found = await work
        outcome = "answered"
    except SwitchboardError as exc:
        outcome = "refused" if exc.status < 500 else "failed"
        raise
    finally:
        metrics.EMBEDDING_REQUESTS.labels(endpoint, outcome).inc()
        metrics.EMBEDDING_SECONDS.labels(endpoint).observe(time.perf_counter() - began)
    metrics.EMBEDDING_TOKENS.labels(endpoint).inc(found.tokens)
    return found


def _dumped(answer: dict[str, Any], vectors: Vectors, form: str) -> bytes:
    data = [
        {
            "object": "embedding",
            "index": n,
            # Little-endian float32, as OpenAI's.
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()
            if form == "base64"
            else row,
        }
        for n, row in enumerate(vectors)
    ]
    return orjson.dumps({**answer, "data": data}, option=orjson.OPT_SERIALIZE_NUMPY)
