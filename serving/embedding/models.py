"""The server's models of embeddings and ranks, by name, and what embeds for a line's libraries."""

import asyncio
import time
from collections.abc import Callable, Sequence

from serving.config.embedding.sections import Embeddings, Rerank
from serving.config.lobs import Fallback
from serving.config.settings import Settings
from serving.embedding.local import CrossModel, SentenceModel, Use
from serving.embedding.remote import RemoteModel
from serving.embedding.results import Embedded, Ranked, Vectors, shortened
from serving.errors import InvalidRequest, NotFound
from serving.fallback.circuit_breaker import Breaker
from serving.fallback.upstream import Upstream


class LibraryEmbedder:
    """What embeds the passages and the questions of lines.

    Args:
        model: The model.
    """

    def __init__(self, model: SentenceModel | RemoteModel) -> None:
        self._model = model

    @property
    def key(self) -> str:
        """What its vectors are stored under."""
        return self._model.key

    async def passages(self, texts: Sequence[str]) -> Vectors:
        """Return (n, d) embeddings of passages; raises SwitchboardError."""
        return (await _embedded(self._model, texts, "document")).vectors

    async def question(self, text: str) -> Vectors:
        """Return the (d,) embedding of a question; raises SwitchboardError."""
        found: Vectors = (await _embedded(self._model, [text], "query")).vectors[0]
        return found


class Models:
    """The models of `embeddings` and `rerank`.

    Args:
        embeddings: The section.
        rerank: The section; without it, the similarity of embeddings ranks.
        fallback: When an upstream's circuit breaker opens.
        upstream: Returns an upstream by its name.
    """

    def __init__(
        self,
        embeddings: Embeddings | None,
        rerank: Rerank | None,
        fallback: Fallback,
        upstream: Callable[[str], Upstream],
    ) -> None:
        self._fallback, self._upstream = fallback, upstream
        self._remote: dict[str, RemoteModel] = {}
        self._embeddings, self._rerank = embeddings, rerank
        self._sentences: SentenceModel | RemoteModel | None = None
        self._cross: CrossModel | RemoteModel | None = None
        if embeddings is not None:
            its = embeddings.upstream
            self._sentences = SentenceModel(embeddings) if its is None else self._of(its)
        if rerank is not None:
            its = rerank.upstream
            self._cross = CrossModel(rerank) if its is None else self._of(its)

    @classmethod
    def of(cls, settings: Settings, upstream: Callable[[str], Upstream]) -> "Models":
        """Return the models of a configuration."""
        return cls(settings.embeddings, settings.rerank, settings.fallback, upstream)

    @property
    def names(self) -> list[str]:
        """The names by which clients ask for them."""
        return [one.served_name for one in (self._embeddings, self._rerank) if one is not None]

    async def start(self) -> None:
        """Load those that run here.

        Raises:
            ConfigError: One is not there.
        """
        here = (self._sentences, self._cross)
        await asyncio.gather(
            *(one.start() for one in here if isinstance(one, SentenceModel | CrossModel))
        )

    async def close(self) -> None:
        """Let go of those that run here."""
        for one in (self._sentences, self._cross):
            if isinstance(one, SentenceModel | CrossModel):
                await one.close()

    @property
    def own(self) -> LibraryEmbedder | None:
        """What embeds for lines that name no upstream: the model here, so that no text leaves."""
        own = self._sentences
        return LibraryEmbedder(own) if isinstance(own, SentenceModel) else None

    def embedder(self, upstream: str) -> LibraryEmbedder:
        """Return what embeds by an upstream of this name."""
        return LibraryEmbedder(self._of(upstream))

    async def embed(
        self, model: str, texts: Sequence[str], dimensions: int | None = None
    ) -> Embedded:
        """Embed texts for a client.

        Args:
            model: The name that it asks.
            texts: n of them.
            dimensions: How many numbers each should have; None: as many as the model gives.

        Raises:
            NotFound: There is no such model.
            InvalidRequest: There are too many texts, one is too long or empty, or the model gives
                no such embeddings.
            SwitchboardError: It does not answer.
        """
        its, source = self._embeddings, self._sentences
        if its is None or source is None:
            raise NotFound("This server embeds nothing: `embeddings` is not configured.")
        if model != its.served_name:
            raise NotFound(
                f"The model `{model[:128]}` does not exist; `{its.served_name}` embeds.",
                param="model",
            )
        if len(texts) > its.max_inputs:
            raise InvalidRequest(
                f"`input` has {len(texts)} texts; at most {its.max_inputs} are taken.",
                param="input",
            )
        if not all(texts):
            raise InvalidRequest("`input` holds an empty text.", param="input")
        found = await _embedded(source, texts, "text", whole=True)
        own = found.vectors.shape[1]
        if dimensions is None or dimensions == own:
            return found
        if dimensions > own or not its.matryoshka:
            raise InvalidRequest(
                f"`dimensions`: the model gives {own}"
                + (" at most." if its.matryoshka else " and no fewer."),
                param="dimensions",
            )
        return Embedded(shortened(found.vectors, dimensions), found.tokens)

    async def rank(self, model: str | None, query: str, documents: Sequence[str]) -> Ranked:
        """Score documents for a client: by the model of `rerank`, or by the cosine of embeddings.

        Args:
            model: The name that it asks, if it does.
            query: What is asked.
            documents: n of them.

        Raises:
            NotFound: There is no such model.
            InvalidRequest: There are too many documents, or a text is empty.
            SwitchboardError: It does not answer.
        """
        its = self._rerank or self._embeddings
        if its is None:
            raise NotFound(
                "This server ranks nothing: neither `rerank` nor `embeddings` is configured."
            )
        if model is not None and model != its.served_name:
            raise NotFound(
                f"The model `{model[:128]}` does not exist; `{its.served_name}` ranks.",
                param="model",
            )
        most = its.max_documents if isinstance(its, Rerank) else its.max_inputs - 1
        if len(documents) > most:
            raise InvalidRequest(
                f"`documents` has {len(documents)}; at most {most} are taken.", param="documents"
            )
        if not query or not all(documents):
            raise InvalidRequest(
                "An empty text cannot be ranked.", param="query" if not query else "documents"
            )
        if self._cross is not None:
            return await self._cross.rank(query, documents)
        return await self._similar(query, documents)

    async def _similar(self, query: str, documents: Sequence[str]) -> Ranked:
        source = self._sentences
        if source is None:
            raise NotFound("This server ranks nothing.")
        asked, told = await asyncio.gather(
            _embedded(source, [query], "query"), _embedded(source, documents, "document")
        )
        query_vector, vectors = asked.vectors, told.vectors
        cosines = shortened(vectors, vectors.shape[1]) @ shortened(query_vector, len(vectors[0]))[0]
        return Ranked([float(one) for one in cosines], asked.tokens + told.tokens)

    def _of(self, name: str) -> RemoteModel:
        if name not in self._remote:
            limits = self._fallback
            breaker = Breaker(limits.failures, limits.reset_s, time.monotonic)
            self._remote[name] = RemoteModel(self._upstream(name), breaker)
        return self._remote[name]


async def _embedded(
    source: SentenceModel | RemoteModel, texts: Sequence[str], use: Use, *, whole: bool = False
) -> Embedded:
    if isinstance(source, SentenceModel):
        return await source.embed(texts, use, whole=whole)
    return await source.embed(texts)
