"""Jobs over a real store, with files in a folder; written rows stand for what the API writes."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from serving.config.settings import Settings
from serving.files.storage import FileStorage
from serving.files.upload import FileLimits, Files
from serving.store.database import Database
from serving.store.files.records import FileRecord, new_id, scope_of
from serving.store.jobs import jobs
from serving.store.jobs.records import JobRecord
from training.recipe.recipe import Recipe

Rows = list[dict[str, Any]]
MakeJob = Callable[..., Awaitable[JobRecord]]


def chats(count: int, begin: int = 0) -> Rows:
    return [
        {
            "messages": [
                {"role": "user", "content": f"where is order {n}?"},
                {"role": "assistant", "content": f"it is on truck {n}"},
            ]
        }
        for n in range(begin, begin + count)
    ]


def pairs(count: int) -> Rows:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"order {n}?"}]},
            "preferred_output": [{"role": "assistant", "content": f"truck {n}"}],
            "non_preferred_output": [{"role": "assistant", "content": "no idea"}],
        }
        for n in range(count)
    ]


def labels(count: int) -> Rows:
    return [row | {"label": n % 2 == 0} for n, row in enumerate(chats(count))]


@pytest.fixture
def job_settings(settings: Settings, tmp_path: Path) -> Settings:
    files = settings.files.model_copy(update={"uri": str(tmp_path / "files")})
    return settings.model_copy(update={"files": files})


@pytest.fixture
async def store(job_settings: Settings) -> AsyncIterator[Database]:
    db = Database(job_settings.store.url)
    await db.open()
    yield db
    await db.close()


@pytest.fixture
def line_recipe() -> Recipe:
    """Return a line's recipe of a few steps on one thread."""
    stage = {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "max_length": 128,
        "device": "cpu",
        "threads": 1,
        "checkpoint_steps": 2,
    }
    return Recipe.model_validate(
        {
            "lora": {"rank": 4, "alpha": 8},
            "sft": stage,
            "dpo": stage,
            "kto": stage | {"min_each": 4},
        }
    )


@pytest.fixture
def make_job(store: Database, job_settings: Settings) -> MakeJob:
    """Return a function that uploads files and asks for a job, as the API does."""
    limits = FileLimits(1 << 20, 1 << 30, 1 << 20)
    kept = Files(store, FileStorage(job_settings.files.uri), limits)

    async def upload(rows: Rows | bytes) -> str:
        made = (
            b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            if isinstance(rows, list)
            else rows
        )
        record = FileRecord(
            id=new_id("file-"),
            key_id="key_1",
            scope=scope_of(["care"]),
            purpose="fine-tune",
            filename="own.jsonl",
            bytes=len(made),
            lines=len(made.splitlines()),
        )
        return (await kept.keep(record, io.BytesIO(made))).id

    async def make(
        rows: Rows | bytes,
        validation: Rows | None = None,
        *,
        kind: str = "supervised",
        numbers: dict[str, Any] | None = None,
        **fields: Any,
    ) -> JobRecord:
        every: dict[str, Any] = dict.fromkeys(
            ("n_epochs", "batch_size", "learning_rate_multiplier"), "auto"
        )
        if kind != "supervised":
            every["beta"] = "auto"
        values = {
            "id": new_id("ftjob-"),
            "key_id": "key_1",
            "lob": "care",
            "model": "care",
            "training_file": await upload(rows),
            "validation_file": None if validation is None else await upload(validation),
            "seed": 7,
            "method": {"type": kind, "hyperparameters": every | (numbers or {})},
        }
        return await jobs.create(store, JobRecord.model_validate(values | fields), None)

    return make
