import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.errors import Conflict, NotFound
from serving.store.database import Database
from serving.store.files import files
from serving.store.files.records import FileRecord, new_id
from serving.store.jobs import jobs
from serving.store.jobs.records import JobRecord
from training.cli import jobs as command
from training.errors import RecipeError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("sft: {device: cpu}")
    file = tmp_path / "config.yaml"
    file.write_text(
        f"model: none\nlobs: {{care: {{}}, sales: {{}}}}\n"
        f"store: {{url: 'sqlite:///{tmp_path}/store.sqlite'}}\n"
        f"files: {{uri: '{tmp_path}/files'}}\n"
    )
    return str(file)


@pytest.fixture
def job(tmp_path: Path) -> str:
    async def make() -> str:
        db = Database(f"sqlite:///{tmp_path}/store.sqlite")
        await db.open()
        file = FileRecord(
            id=new_id("file-"), key_id="k", scope='["care"]', purpose="fine-tune", filename="f",
            bytes=1,
        )  # fmt: skip
        await files.reserve(db, file, None)
        await files.finish(db, file.id)
        numbers = {"n_epochs": 2}
        made = JobRecord(
            id=new_id("ftjob-"),
            key_id="k",
            lob="care",
            model="care",
            training_file=file.id,
            seed=3,
            method={"type": "supervised", "hyperparameters": numbers},
        )
        await jobs.create(db, made, None)
        await db.close()
        return made.id

    return asyncio.run(make())


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(command.app, [*arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


def read(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json"))


def test_finding_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, training.cli.jobs; "
        "print(sorted({'torch', 'numpy', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_jobs_are_listed_shown_and_cancelled(config: str, job: str) -> None:
    assert job in invoke("list", "--config", config)
    assert job not in invoke("list", "sales", "--config", config)
    assert [one["id"] for one in read("list", "care", "--config", config)] == [job]
    shown = invoke("show", job, "--config", config)
    assert f"{job}: validating_files, supervised of care for care" in shown
    assert "n_epochs 2, seed 3" in shown
    assert read("show", job, "--config", config)["runner"] is None
    assert invoke("cancel", job, "--config", config) == f"{job} is cancelled\n"
    with pytest.raises(Conflict, match="The job is cancelled"):
        invoke("cancel", job, "--config", config)
    assert "The job was cancelled" in invoke("logs", job, "--config", config)
    told = [one["message"] for one in read("logs", job, "--config", config)]
    assert told == [f"Created fine-tuning job: {job}", "The job was cancelled"]


def test_a_file_whose_bytes_are_gone_fails_its_job(config: str, job: str) -> None:
    assert invoke("work", "--once", "--config", config).endswith("0 jobs worked on\n")
    assert read("show", job, "--config", config)["error"]["code"] == "invalid_training_file"


def test_an_unknown_job_is_not_found(config: str) -> None:
    for name in ("show", "logs", "cancel"):
        with pytest.raises(NotFound):
            invoke(name, "ftjob-0", "--config", config)


def test_a_wrong_recipe_ends_the_runner_at_its_start(config: str, tmp_path: Path) -> None:
    (tmp_path / "training" / "sales.yaml").write_text("sfd: {}")
    with pytest.raises(RecipeError, match="sfd: unknown key"):
        invoke("work", "--once", "--config", config)
