"""Sentence-embedding models and cross-encoders that run in this process, by sentence-transformers.

Each has a thread of its own, in which it is loaded and asked: the event loop goes on (torch leaves
Python's lock in each of its operations), the engine is another process, and a tokenizer is never
asked by two threads. What waits is taken in batches (`batching`).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from serving.adapters import artifacts
from serving.config.embedding.sections import Embeddings, Rerank
from serving.embedding.batching import Batcher
from serving.embedding.results import Embedded, Ranked, Vectors
from serving.errors import ConfigError, DeadlineExceeded, InvalidRequest

Use = Literal["text", "query", "document"]
"""What a text is for: some models write a prompt of their own before queries or documents."""
_Row = tuple[Any, int]


class SentenceModel:
    """A sentence-embedding model; `start` loads it.

    Args:
        settings: The section, with a model.
    """

    def __init__(self, settings: Embeddings) -> None:
        self.name = settings.model or ""
        self.key = ""
        """What its vectors are stored under: another for other weights."""
        self._thread = _Thread(settings, "embeddings")

    async def start(self) -> None:
        """Load the model.

        Raises:
            ConfigError: It, or the library, is not there.
        """
        self.key = await self._thread.start(self._load, self._work)

    async def embed(
        self, texts: Sequence[str], use: Use = "text", *, whole: bool = False
    ) -> Embedded:
        """Return the embeddings of texts, of length 1.

        Args:
            texts: n of them.
            use: What they are for.
            whole: Refuse a text that is longer than the model reads; else its end is left out.

        Raises:
            InvalidRequest: A text is too long; `whole` only.
            Overloaded: Too many wait.
            DeadlineExceeded: They wait too long.
        """
        rows = await self._thread.ask(f"{use} {'whole' if whole else ''}", texts)
        vectors: Vectors = np.stack([row for row, _ in rows])
        return Embedded(vectors, sum(tokens for _, tokens in rows))

    async def close(self) -> None:
        """Let go of the thread."""
        await self._thread.close()

    def _load(self) -> str:
        library = _library()
        model = library.SentenceTransformer(self.name, device=self._thread.settings.device)
        self._model, self._limit = model, model.max_seq_length
        rows = model.encode(["a"], show_progress_bar=False)  # what it cannot do shows here
        return f"{_fingerprint(self.name)}-{len(rows[0])}"

    def _work(self, kind: str, texts: list[str]) -> list["_Row | InvalidRequest"]:
        use, _, whole = kind.partition(" ")
        ids = self._model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        lengths, limit = [len(one) for one in ids], self._limit
        if whole and limit is not None and max(lengths) > limit:
            taken = [n for n, length in enumerate(lengths) if length <= limit]
            rows = iter(self._work(use, [texts[n] for n in taken]) if taken else ())
            return [
                next(rows) if length <= limit else _too_long(length, limit) for length in lengths
            ]
        encode: Callable[..., npt.NDArray[np.float32]] = {
            "query": self._model.encode_query,
            "document": self._model.encode_document,
        }.get(use, self._model.encode)
        vectors = encode(
            texts,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        read = [length if limit is None else min(length, limit) for length in lengths]
        return list(zip(vectors.astype(np.float32), read, strict=True))


class CrossModel:
    """A cross-encoder, which reads a query with each document; `start` loads it.

    Args:
        settings: The section, with a model.
    """

    def __init__(self, settings: Rerank) -> None:
        self.name = settings.model or ""
        self._thread = _Thread(settings, "rerank")

    async def start(self) -> None:
        """Load the model.

        Raises:
            ConfigError: It, or the library, is not there, or it gives more than one score a pair.
        """
        await self._thread.start(self._load, self._work)

    async def rank(self, query: str, documents: Sequence[str]) -> Ranked:
        """Return the score of each document; the end of what is too long is left out.

        Args:
            query: What is asked.
            documents: n of them.

        Raises:
            Overloaded: Too many wait.
            DeadlineExceeded: They wait too long.
        """
        rows = await self._thread.ask("", [(query, one) for one in documents])
        return Ranked([score for score, _ in rows], sum(tokens for _, tokens in rows))

    async def close(self) -> None:
        """Let go of the thread."""
        await self._thread.close()

    def _load(self) -> str:
        library = _library()
        model = library.CrossEncoder(self.name, device=self._thread.settings.device)
        if model.config.num_labels != 1:
            raise ConfigError(
                f"rerank.model: {self.name} gives {model.config.num_labels} numbers a pair: it is "
                "no cross-encoder that ranks.",
                param="rerank.model",
            )
        self._model = model
        return _fingerprint(self.name)

    def _work(self, _: str, pairs: list[tuple[str, str]]) -> list[_Row]:
        queries, documents = map(list, zip(*pairs, strict=True))
        read = self._model.tokenizer(
            queries,
            documents,
            truncation=True,
            max_length=self._model.max_seq_length,
            verbose=False,
        )["input_ids"]
        scores = self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
        return [(float(s), len(ids)) for s, ids in zip(scores, read, strict=True)]


class _Thread:
    """A thread that loads a model and answers batches."""

    def __init__(self, settings: Embeddings | Rerank, section: str) -> None:
        self.settings, self._section = settings, section
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=section)
        self._batcher: Batcher | None = None

    async def start(
        self, load: Callable[[], str], work: Callable[[str, list[Any]], Sequence[Any]]
    ) -> str:
        def loaded() -> str:
            import torch

            torch.set_num_threads(self.settings.threads)  # of this thread (OpenMP)
            try:
                return load()
            except ConfigError:
                raise
            except Exception as exc:  # the library raises what it comes by
                model = self.settings.model
                raise ConfigError(
                    f"{self._section}.model: {model!r} cannot be loaded: {exc}",
                    param=f"{self._section}.model",
                ) from exc

        key = await asyncio.get_running_loop().run_in_executor(self._executor, loaded)
        its = self.settings
        self._batcher = Batcher(work, self._executor, most=its.batch, max_waiting=its.max_waiting)
        return key

    async def ask(self, kind: str, items: Sequence[Any]) -> list[Any]:
        if self._batcher is None:
            raise RuntimeError("the model is not loaded")
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await self._batcher.run(kind, items)
        except TimeoutError as exc:
            raise DeadlineExceeded(f"The model of {self._section} did not answer in time.") from exc

    async def close(self) -> None:
        if self._batcher is not None:
            await self._batcher.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _too_long(length: int, limit: int) -> InvalidRequest:
    return InvalidRequest(f"A text has {length} tokens; the model reads {limit}.", param="input")


def _library() -> Any:
    try:
        import sentence_transformers
        from transformers.utils import logging
    except ImportError as exc:
        raise ConfigError(
            "embeddings.model and rerank.model need the extra `embeddings`: "
            "pip install 'switchboard[embeddings]'."
        ) from exc
    logging.disable_progress_bar()  # of loading, in logs and beside what commands print
    return sentence_transformers


def _fingerprint(name: str) -> str:
    """A name for a model's weights; of a hub's model whose files lie otherwise, its id."""
    try:
        return artifacts.model_hash(name)[:16]
    except ConfigError:
        return hashlib.sha256(name.encode()).hexdigest()[:16]
