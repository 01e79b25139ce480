"""Lets models on one or several servers answer the same held-out examples, one after another."""

import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import openai

from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.store import datasets
from serving.store.database import Database
from training.analysis import compare, latency
from training.analysis.compare import Price, Run
from training.analysis.compare_report import Report
from training.data import repository
from training.data.dataset import Dataset
from training.errors import DatasetError
from training.evaluation import server as endpoint
from training.recipe.recipe import EvaluationConfig

logger = logging.getLogger(__name__)

API_KEY = "SWITCHBOARD_API_KEY"
OTHER_API_KEY = "SWITCHBOARD_OTHER_API_KEY"
"""Never the key of our own server: another server may be another company's."""


@dataclass(frozen=True)
class Other:
    """A model on another OpenAI-compatible server.

    Args:
        url: Its address, with or without /v1.
        model: The model's name there.
        price: None: unknown.
    """

    url: str
    model: str
    price: Price | None = None


async def run(
    lob: str,
    *,
    config: Path,
    settings: Settings,
    rules: EvaluationConfig,
    models: Sequence[str] = (),
    others: Sequence[Other] = (),
    price: Price | None = None,
    url: str | None = None,
    dataset_id: str | None = None,
    limit: int | None = None,
) -> Report:
    """Compare models.

    Args:
        lob: The line of business.
        config: The server's configuration file, in case a private server must be started.
        settings: Its content.
        rules: Sampling, concurrency, intervals.
        models: Names on our server; none takes the base and what is live.
        others: Models on other servers, which must be running.
        price: Of our server.
        url: Our server, without /v1; None tries the configured address, then a private one.
        dataset_id: Whose hold-out to answer; None takes the newest of the line.
        limit: Answer only so many examples, the first.

    Raises:
        NotFound: No such line of business or dataset.
        DatasetError: The dataset is another line's, or holds out less than two conversations.
        EvaluationFailed: A server does not answer, or with another model.
    """
    settings.require_lob(lob)
    async with AsyncExitStack() as stack:
        db = Database(settings.store_address)
        await db.open()
        stack.push_async_callback(db.close)
        held = await _dataset(db, lob, dataset_id)
        examples = held.holdout[:limit]
        if len({example.conversation_id for example in examples}) < 2:
            raise DatasetError(
                f"dataset {held.id[:16]}: {len(examples)} held-out examples of fewer than two "
                "conversations; an interval needs two. Fix: another --dataset, or a higher --limit"
            )
        if not models:
            route = (await Registry(db, settings.adapters.uri).routes()).get(lob)
            live = route.live if route else None
            models = [settings.served_name, *([live] if live else [])]
        address = await stack.enter_async_context(endpoint.running(url, config, settings))
        asked = [(address, model, price, os.environ.get(API_KEY)) for model in models]
        key = os.environ.get(OTHER_API_KEY)
        asked += [(_without_v1(other.url), other.model, other.price, key) for other in others]
        runs: list[Run] = []
        for server, model, cost, key in asked:
            client = openai.AsyncOpenAI(
                base_url=f"{server}/v1", api_key=key or "none", max_retries=0
            )
            async with client:
                runs.append(await latency.answer(client, model, examples, rules, price=cost))
            logger.info(
                f"{lob}: {model} answered {len(examples)} examples in {runs[-1].wall_s:.1f} s"
            )
    return Report(
        lob,
        held.id,
        tuple(compare.lines(runs, examples, rules)),
        tuple(compare.assumptions(runs, examples, rules)),
    )


async def _dataset(db: Database, lob: str, prefix: str | None) -> Dataset:
    """Return the named dataset, or the newest of the line with something to judge on."""
    if prefix is None:
        others = {"golden", "fine-tune"}  # with little or nothing to judge on
        records = [r for r in await datasets.list_all(db, lob) if r.manifest["kind"] not in others]
        if not records:
            raise DatasetError(
                f"{lob} has no dataset whose hold-out could be answered. Fix: switchboard dataset "
                f"build {lob}"
            )
        prefix = records[-1].id
    found = await repository.find(db, prefix)
    if found.manifest["lob"] != lob:
        raise DatasetError(f"dataset {found.id[:16]} belongs to {found.manifest['lob']}")
    return found


def _without_v1(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")
