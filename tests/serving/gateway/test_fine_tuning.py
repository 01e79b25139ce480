"""/v1/fine_tuning/jobs as OpenAI's client uses it; the runner's side is written by hand here."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from serving import auth
from serving.api import fine_tuning
from serving.auth import Role
from serving.store import audit
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobCheckpoint, JobEvent
from serving.store.jobs.state import Step
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_files import client

CHAT = {"messages": [{"role": r, "content": "hello"} for r in ("user", "assistant")]}
PATH = "/v1/fine_tuning/jobs"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "LOOK_S", 0.01)


async def trainer(site: Site, *lobs: str) -> openai.AsyncOpenAI:
    return await client(site, list(lobs or ("care",)), ["trainer"])


async def uploaded(mine: openai.AsyncOpenAI, *rows: Any, purpose: Any = "fine-tune") -> str:
    content = "\n".join(map(json.dumps, rows or (CHAT, CHAT)))
    return (await mine.files.create(file=("chats.jsonl", content.encode()), purpose=purpose)).id


async def made(mine: openai.AsyncOpenAI, **fields: Any) -> FineTuningJob:
    file = fields.pop("training_file", None) or await uploaded(mine)
    return await mine.fine_tuning.jobs.create(**{"model": "care", "training_file": file} | fields)


async def run(site: Site, id_: str, term: int = 1) -> None:
    await jobs.move(site.db, id_, Step.ACCEPT)
    assert await jobs.take(site.db, id_, term)


async def test_a_job_is_made_found_and_listed_in_openais_form(site: Site) -> None:
    async with await trainer(site) as mine:
        job = await made(mine, suffix="spring", seed=7, metadata={"team": "a"})
        raw = await mine.fine_tuning.jobs.with_raw_response.retrieve(job.id)
        assert FineTuningJob.model_validate(raw.http_response.json()) == job
        assert (job.object, job.status, job.model) == (
            "fine_tuning.job",
            "validating_files",
            "care",
        )
        assert (job.seed, job.metadata, job.result_files) == (7, {"team": "a"}, [])
        assert (job.fine_tuned_model, job.finished_at, job.error) == (None, None, None)
        assert job.method is not None
        assert job.method.type == "supervised"
        assert job.hyperparameters.n_epochs == "auto"
        assert job.model_extra == {"user_provided_suffix": "spring"}
        assert [one.id async for one in mine.fine_tuning.jobs.list()] == [job.id]
    (entry,) = await audit.of(site.db, job.id)
    assert entry.action == "create_job"
    assert entry.key_id


async def test_methods_keep_their_hyperparameters(site: Site) -> None:
    async with await trainer(site) as mine:
        dpo: Any = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2}}}
        job = await made(mine, method=dpo)
        assert job.method is not None
        assert job.method.dpo is not None
        assert job.method.dpo.hyperparameters is not None
        assert job.method.dpo.hyperparameters.beta == 0.2
        assert job.method.dpo.hyperparameters.batch_size == "auto"
        kto: Any = {"type": "kto", "kto": {"hyperparameters": {"batch_size": 4}}}
        assert (await made(mine, method=kto)).hyperparameters.batch_size == 4
        old: Any = {"n_epochs": 3, "learning_rate_multiplier": 0.5}
        job = await made(mine, hyperparameters=old)
        assert job.hyperparameters.n_epochs == 3
        assert job.hyperparameters.learning_rate_multiplier == 0.5


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"model": "care@2"}, 404, "model"),
        ({"model": "sales"}, 403, "model"),
        ({"training_file": "file-x"}, 404, "training_file"),
        ({"validation_file": "file-x"}, 404, "validation_file"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "integrations"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": True}}, 400, "hyperparameters.batch_size"),
        ({"hyperparameters": {"epochs": 1}}, 400, "hyperparameters.epochs"),
        ({"method": {"type": "reinforcement"}}, 400, "method.type"),
        ({"method": {"type": "dpo", "supervised": {}}}, 400, "method.supervised"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": "high"}}}},
            400,
            "method.dpo.hyperparameters.beta",
        ),
        ({"method": {"type": "dpo"}, "hyperparameters": {}}, 400, "hyperparameters"),
        ({"suffix": "s" * 65}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"metadata": {"n": 1}}, 400, "metadata.n"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
        ({"n_epochs": 3}, 400, "n_epochs"),
    ],
)
async def test_what_is_wrong_is_refused_and_named(
    site: Site, fields: dict[str, Any], status: int, param: str
) -> None:
    async with await trainer(site) as mine:
        file = await uploaded(mine)
    async with await site.http(["trainer"], ["care"]) as http:
        body = {"model": "care", "training_file": file} | fields
        answer = await http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert await jobs.waiting(site.db) == []


async def test_files_of_other_purposes_and_one_file_for_both_are_refused(site: Site) -> None:
    row = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"input": "hi"}}
    async with await trainer(site) as mine:
        batch = await uploaded(mine, row, purpose="batch")
        with pytest.raises(openai.BadRequestError, match="purpose"):
            await made(mine, training_file=batch)
        chats = await uploaded(mine)
        with pytest.raises(openai.BadRequestError, match="cannot validate"):
            await made(mine, training_file=chats, validation_file=chats)


async def test_the_base_is_fine_tuned_for_the_one_line_of_the_key(site: Site) -> None:
    async with await trainer(site, "sales") as mine:
        job = await made(mine, model="base")
        assert (await jobs.get(site.db, job.id)).lob == "sales"
        assert job.model == "base"
    async with await trainer(site, "care", "sales") as mine:
        with pytest.raises(openai.BadRequestError, match="name the line \\(care, sales\\)"):
            await made(mine, model="base")


async def test_a_key_has_so_many_unfinished_jobs(site: Site) -> None:
    async with await trainer(site) as mine:
        first, *_ = [await made(mine) for _ in range(3)]
        with pytest.raises(openai.RateLimitError, match="max_unfinished"):
            await made(mine)
        assert (await mine.fine_tuning.jobs.cancel(first.id)).status == "cancelled"
        await made(mine)


async def test_a_key_by_its_name_goes_first(site: Site) -> None:
    site.keys["['trainer'] ['care']"], _ = await auth.create(
        site.db, name="urgent", roles=["trainer"], lobs=["care"]
    )
    async with await trainer(site) as mine:
        job = await made(mine)
    assert (await jobs.get(site.db, job.id)).priority == -1


async def test_jobs_are_listed_by_page_and_metadata(site: Site) -> None:
    async with await trainer(site) as mine:
        made_ = [await made(mine, metadata={"n": str(i)} if i else None) for i in range(3)]
        ids = [job.id for job in made_][::-1]
        page = await mine.fine_tuning.jobs.list(limit=2)
        assert ([one.id for one in page.data], page.has_more) == (ids[:2], True)
        assert [one.id async for one in mine.fine_tuning.jobs.list(limit=1)] == ids
        found = [one.id async for one in mine.fine_tuning.jobs.list(metadata={"n": "1"})]
        assert found == [made_[1].id]
    async with await site.http(["trainer"], ["care"]) as http:
        answer = (await http.get(PATH, params={"metadata": "null"})).json()
        assert [one["id"] for one in answer["data"]] == [made_[0].id]
        for query in ({"metadata": "x"}, {"metadata": "null", "metadata[n]": "1"}):
            refused = await http.get(PATH, params=query)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")
        for quoted in ('metadata["]', "metadata[]"):
            assert (await http.get(PATH, params={quoted: "1"})).status_code == 400


async def test_events_and_checkpoints_have_openais_form(site: Site) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
        await run(site, job.id)
        steps = [
            JobEvent(
                message=f"Step {n}/2: training loss={1 / n:.2f}",
                kind="metrics",
                name=f"step {n}",
                data={"step": n, "train_loss": 1 / n},
            )
            for n in (1, 2)
        ]
        points = [
            JobCheckpoint(step=1, metrics={"step": 1, "train_loss": 1.0}),
            JobCheckpoint(step=2, metrics={"step": 2, "train_loss": 0.5, "final": True}),
        ]
        await progress.tell(site.db, job.id, 1, steps, points)
        await jobs.move(site.db, job.id, Step.SUCCEED, term=1, fine_tuned_model="care@8")
        pages = mine.fine_tuning.jobs.list_events(job.id, limit=1)
        told = [one async for one in pages]
        assert [one.message for one in told] == [
            "Step 2/2: training loss=0.50",
            "Step 1/2: training loss=1.00",
            "Fine-tuning job started",
            f"Created fine-tuning job: {job.id}",
        ]
        assert (told[0].type, told[0].data) == ("metrics", {"step": 2, "train_loss": 0.5})
        for one in told:
            FineTuningJobEvent.model_validate(one.model_dump())
        found = [one async for one in mine.fine_tuning.jobs.checkpoints.list(job.id, limit=1)]
        assert [one.step_number for one in found] == [2, 1]
        assert [one.metrics.train_loss for one in found] == [0.5, 1.0]
        assert found[0].fine_tuned_model_checkpoint == "care@8"
        assert found[1].fine_tuned_model_checkpoint == f"{job.id}:ckpt-step-1"
        for point in found:
            FineTuningJobCheckpoint.model_validate(point.model_dump())
        assert (await mine.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model == "care@8"


async def test_events_are_streamed_until_the_job_is_over(site: Site) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
        await run(site, job.id)
        await jobs.ask(site.db, job.id, Step.CANCEL, None)
    async with await site.http(["trainer"], ["care"]) as http:
        answer = await http.get(f"{PATH}/{job.id}/events", params={"stream": "true"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *told, last = [line[6:] for line in answer.text.splitlines() if line]
    assert [json.loads(one)["message"] for one in told] == [
        f"Created fine-tuning job: {job.id}",
        "Fine-tuning job started",
        "The job was cancelled",
    ]
    assert last == "[DONE]"


async def test_a_job_is_paused_resumed_and_cancelled(site: Site) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
        with pytest.raises(openai.ConflictError, match="it must be queued or running"):
            await mine.fine_tuning.jobs.pause(job.id)
        await run(site, job.id)
        assert (await mine.fine_tuning.jobs.pause(job.id)).status == "paused"  # type: ignore[comparison-overlap]
        assert (await mine.fine_tuning.jobs.resume(job.id)).status == "queued"
        cancelled = await mine.fine_tuning.jobs.cancel(job.id)
        assert cancelled.status == "cancelled"
        assert cancelled.finished_at is not None
        with pytest.raises(openai.ConflictError):
            await mine.fine_tuning.jobs.resume(job.id)
    acts = [entry.action for entry in await audit.of(site.db, job.id)]
    assert acts == ["create_job", "pause_job", "resume_job", "cancel_job"]


async def test_a_file_is_kept_while_a_job_reads_it(site: Site) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
        with pytest.raises(openai.ConflictError):
            await mine.files.delete(job.training_file)
        await mine.fine_tuning.jobs.cancel(job.id)
        assert (await mine.files.delete(job.training_file)).deleted


@pytest.mark.parametrize("role", list(Role))
async def test_jobs_are_for_trainers_of_their_line(site: Site, role: Role) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
    calls: list[Callable[[httpx.AsyncClient], Any]] = [
        lambda http: http.get(PATH),
        lambda http: http.get(f"{PATH}/{job.id}"),
        lambda http: http.get(f"{PATH}/{job.id}/events"),
        lambda http: http.get(f"{PATH}/{job.id}/checkpoints"),
        lambda http: http.post(f"{PATH}/{job.id}/cancel"),
        lambda http: http.post(f"{PATH}/{job.id}/pause"),
        lambda http: http.post(f"{PATH}/{job.id}/resume"),
    ]
    may = role in {Role.TRAINER, Role.ADMIN}
    async with await site.http([role], ["sales"]) as http:
        answers = [(await call(http)).status_code for call in calls]
        assert answers == ([200] + [404] * 6 if may else [403] * 7)
    async with await site.http([role], ["care"]) as http:
        answers = [(await call(http)).status_code for call in calls]
        assert answers == ([200] * 5 + [409] * 2 if may else [403] * 7)


@pytest.mark.parametrize("after", ["ftevent-", "x", "ftevent--1", "ftevent-" + "f" * 40])
async def test_an_id_of_no_event_is_refused(site: Site, after: str) -> None:
    async with await trainer(site) as mine:
        job = await made(mine)
        with pytest.raises(openai.BadRequestError):
            await mine.fine_tuning.jobs.list_events(job.id, after=after)
