"""What embeds a library for the commands, which run where no server does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from serving.config.lobs import Search
from serving.config.settings import Settings
from serving.embedding.models import Models
from serving.fallback.upstream import Upstream
from serving.knowledge.embedding import Embedder, passages
from serving.store.libraries.vectors import Vectors
from serving.store.libraries.versions import Entry


@asynccontextmanager
async def opened(settings: Settings, its: Search) -> AsyncIterator[Models]:
    """Load the model that a library's search asks, if it asks one here.

    Raises:
        ConfigError: It is not there.
    """
    upstreams: dict[str, Upstream] = {}

    def upstream(name: str) -> Upstream:
        if name not in upstreams:
            upstreams[name] = Upstream(name, settings.upstreams[name])
        return upstreams[name]

    section = settings.embeddings
    here = section is not None and section.model is not None and its.embeddings is None
    models = Models(section if here else None, None, settings.fallback, upstream)
    try:
        await models.start()
        yield models
    finally:
        await models.close()
        for one in upstreams.values():
            await one.close()


async def embedded(
    models: Models, its: Search, entries: Sequence[Entry]
) -> tuple[str, Vectors] | None:
    """Return what embeds a library, and the (n, d) embeddings of its n entries; None: nothing does.

    Raises:
        SwitchboardError: It does not answer.
    """
    embedder: Embedder | None = models.own
    if its.embeddings is not None:
        embedder = models.embedder(its.embeddings) if its.embeddings else None
    return None if embedder is None else (embedder.key, await passages(embedder, entries))
