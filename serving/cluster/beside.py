"""The models that a replica runs beside its engine: of embeddings and ranks, and of speech."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Self

from serving.config.settings import Settings
from serving.embedding.models import Models
from serving.fallback.upstream import Upstream
from serving.transcription.whisper import Transcriber


class Beside(NamedTuple):
    """What embeds and ranks, and what transcribes."""

    models: Models
    transcriber: Transcriber

    @classmethod
    def of(cls, settings: Settings, upstream: Callable[[str], Upstream]) -> Self:
        """Return the models of a configuration.

        Args:
            settings: The configuration.
            upstream: Returns an upstream by its name.
        """
        return cls(Models.of(settings, upstream), Transcriber(settings.transcription))

    async def start(self) -> None:
        """Load those that run here; raises ConfigError where one is not there."""
        await asyncio.gather(self.models.start(), self.transcriber.start())

    async def close(self) -> None:
        """Let go of them."""
        await self.models.close()
        await self.transcriber.close()
