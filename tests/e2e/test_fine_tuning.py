"""OpenAI's fine-tuning by its own client, with the real server, runner and training."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from openai.types.fine_tuning import FineTuningJob

from tests.e2e.server import BIN, ROOT, STOP_S, Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
OVER = {"succeeded", "failed", "cancelled"}
RECIPE = {
    "lora": {"rank": 8},
    "sft": {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "max_length": 512,
        "checkpoint_steps": 5,
        "device": "cpu",
        "threads": 1,
    },
    "resources": {"nice": 0},
}
LONG = 150  # epochs of three steps: far from done when it is stopped

# As it would run against OpenAI: nothing in it knows of this server.
SCRIPT = """
import json, sys, time
from openai import OpenAI

client = OpenAI()
training = client.files.create(file=open(sys.argv[1], "rb"), purpose="fine-tune")
validation = client.files.create(file=open(sys.argv[2], "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model=sys.argv[3],
    training_file=training.id,
    validation_file=validation.id,
    suffix="late orders",
    seed=7,
    metadata={"team": "care"},
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
)
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(0.5)
    job = client.fine_tuning.jobs.retrieve(job.id)
events = [event.to_dict() for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
points = [one.to_dict() for one in client.fine_tuning.jobs.checkpoints.list(job.id)]
results = client.files.content(job.result_files[0]).text if job.result_files else ""
answer = client.chat.completions.create(
    model=job.fine_tuned_model or "none",
    messages=[{"role": "user", "content": "customer: where is order 3?"}],
    max_tokens=8,
)
print(json.dumps({
    "job": job.to_dict(),
    "events": events,
    "checkpoints": points,
    "results": results,
    "answer": answer.to_dict(),
}))
"""


def chats(count: int) -> bytes:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"customer: where is order {n}?"},
                {"role": "assistant", "content": f"Order {n} is on its way."},
            ]
        }
        for n in range(count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


class Runner:
    """`switchboard jobs work` as a process of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._folder = folder
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE))
        self._command = [
            *(BIN / "switchboard", "jobs", "work", "--config", server.config),
            *("--recipe", recipe, "--out", folder / "runs", "--lease", "3", "--every", "0.2"),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "runner.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(STOP_S)

    def work_folders(self) -> list[Path]:
        return list((self._folder / "runs" / "work").glob("care-*/"))


@pytest.fixture(scope="module")
def runner(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    made = Runner(server, tmp_path_factory.mktemp("runner"))
    made.start()
    yield made
    with contextlib.suppress(ProcessLookupError):
        made.end(signal.SIGTERM)


def asked(client: openai.OpenAI, content: bytes, **fields: Any) -> FineTuningJob:
    file = client.files.create(file=("own.jsonl", content), purpose="fine-tune")
    return client.fine_tuning.jobs.create(
        **{"model": "care", "training_file": file.id, "seed": 1} | fields
    )


def long(client: openai.OpenAI) -> FineTuningJob:
    return asked(client, chats(12), hyperparameters={"n_epochs": LONG})


def ended(client: openai.OpenAI, id_: str) -> FineTuningJob:
    def look() -> FineTuningJob | None:
        job = client.fine_tuning.jobs.retrieve(id_)
        return job if job.status in OVER else None

    job = until(look, f"{id_} ends", every_s=0.5)
    assert job is not None
    return job


def messages(client: openai.OpenAI, id_: str) -> list[str]:
    return [one.message for one in client.fine_tuning.jobs.list_events(id_, limit=100)][::-1]


def test_a_script_for_openai_runs_with_another_base_url(
    server: Server, runner: Runner, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "training.jsonl").write_bytes(chats(12))
    (tmp_path / "validation.jsonl").write_bytes(chats(4))
    done = subprocess.run(
        [sys.executable, "script.py", "training.jsonl", "validation.jsonl", "care"],
        cwd=tmp_path,
        env=os.environ
        | {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": server.keys["trainer"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    job = FineTuningJob.model_validate(said["job"])
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.startswith("care@")
    assert (job.seed, job.metadata, job.hyperparameters.n_epochs) == (7, {"team": "care"}, 3)
    assert job.trained_tokens is not None
    assert job.trained_tokens > 100
    assert said["answer"]["model"] == job.fine_tuned_model
    assert said["answer"]["usage"]["completion_tokens"] > 0
    header, *rows = said["results"].splitlines()
    assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [row.split(",")[0] for row in rows] == [str(n) for n in range(1, 10)]
    losses = [float(row.split(",")[1]) for row in rows]
    assert losses[-1] < losses[0]
    assert [bool(row.split(",")[3]) for row in rows] == [False, False, True] * 3
    metrics = [one["data"]["step"] for one in said["events"] if one["type"] == "metrics"]
    assert set(metrics) == set(range(1, 10))
    assert said["events"][0]["message"] == "The job has successfully completed"
    assert [one["step_number"] for one in said["checkpoints"]] == [9, 5]
    assert said["checkpoints"][0]["fine_tuned_model_checkpoint"] == job.fine_tuned_model
    with server.http("admin") as http:
        (version,) = [
            one
            for one in http.get("/v1/adapters?lob=care").json()["data"]
            if one["name"] == job.fine_tuned_model
        ]
    assert version["state"] == "candidate"
    assert version["metrics"]["fine_tuning_job"] == job.id
    with server.client("service") as other, pytest.raises(openai.PermissionDeniedError):
        other.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "hi"}]
        )


def test_a_killed_runner_is_followed_by_another_that_goes_on(
    server: Server, runner: Runner
) -> None:
    with server.client("trainer") as client:
        job = long(client)
        until(
            lambda: "Checkpoint created at step 5" in messages(client, job.id),
            "a checkpoint is written",
            every_s=0.2,
        )
        runner.end(signal.SIGKILL)
        assert client.fine_tuning.jobs.retrieve(job.id).status == "running"
        runner.start()
        until(
            lambda: [one for one in messages(client, job.id) if "goes on from the" in one],
            "the next runner goes on",
            every_s=0.2,
        )
        done = ended(client, job.id)
        assert done.status == "succeeded", done.error
        every = client.fine_tuning.jobs.list_events(job.id, limit=100)
        steps = [one.data["step"] for one in every if one.type == "metrics"]  # type: ignore[index]
        assert sorted(steps) == list(range(1, 3 * LONG + 1))
        results = client.files.content(done.result_files[0]).text.splitlines()
        assert len(results) == 3 * LONG + 1
    assert runner.work_folders() == []


def test_a_running_job_is_paused_resumed_and_cancelled(server: Server, runner: Runner) -> None:
    with server.client("trainer") as client:
        job = long(client)

        def step() -> int:
            events = client.fine_tuning.jobs.list_events(job.id, limit=1).data
            data: Any = events[0].data
            return int(data.get("step", 0))

        until(lambda: step() >= 5, "it trains", every_s=0.2)
        client.fine_tuning.jobs.pause(job.id)
        until(lambda: _runner_of(server, job.id) is None, "the runner lets go", every_s=0.5)
        client.fine_tuning.jobs.resume(job.id)
        until(lambda: step() >= 10, "it trains again", every_s=0.2)
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        until(lambda: not runner.work_folders(), "nothing is left of it", every_s=0.5)
        assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model is None


def _runner_of(server: Server, id_: str) -> Any:
    return json.loads(server.cli("jobs", "show", id_, "--json").stdout)["runner"]


def test_a_bad_file_is_named_by_its_lines(server: Server, runner: Runner) -> None:
    wrong = chats(12) + b'\n{"messages": []}\n{"prompt": "x"}'
    with server.client("trainer") as client:
        with pytest.raises(openai.BadRequestError, match=r"line 13: .*line 14: "):
            asked(client, wrong)
        tools = chats(12).replace(b'"messages"', b'"tools": [{"type": "function"}], "messages"', 1)
        failed = ended(client, asked(client, tools).id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")
        assert "line 1: tools" in failed.error.message
