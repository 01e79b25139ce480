"""One job from its files to its version, its metrics told on the way."""

import asyncio
import io
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.config.settings import Settings
from serving.errors import Conflict
from serving.files import lines
from serving.files.storage import FileStorage
from serving.files.upload import FileLimits, Files
from serving.store.database import Database
from serving.store.files import files
from serving.store.files.records import FileRecord, scope_of
from serving.store.jobs import jobs, progress
from serving.store.jobs.records import JobCheckpoint, JobEvent, JobRecord
from serving.store.jobs.state import JobState, Step
from serving.store.records import Json
from training.execution import executor, fitting, trained_adapter
from training.execution.executor import Trainer
from training.execution.fitting import Fitting, Trained
from training.jobs import hyperparameters, material, step_log
from training.jobs.step_log import Entry
from training.recipe.recipe import Recipe
from training.trainers import common, tracking
from training.trainers.job import Job, Result


class _Watched:
    """A trainer that says where it works, before it begins."""

    def __init__(self, trainer: Trainer, run: "FineTune") -> None:
        self._trainer = trainer
        self._run = run

    async def __aenter__(self) -> Self:
        await self._trainer.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._trainer.__aexit__(kind, error, trace)

    async def train(self, job: Job) -> Result:
        await self._run.begins(Path(job.out))
        return await self._trainer.train(job)


class FineTune:
    """Works on one job under a lease that somebody else holds on to.

    Args:
        db: The store.
        settings: The server's configuration.
        recipe: The job's recipe.
        out: Folder for datasets and runs.
        trainer: A trainer to use; None starts the one that the recipe names.
        job: The job.
        term: Of the lease.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        recipe: Recipe,
        out: Path,
        trainer: Trainer | None,
        job: JobRecord,
        term: int,
    ) -> None:
        self._db = db
        self._settings = settings
        self._recipe = recipe
        self._out = out
        self._trainer = trainer
        self._job = job
        self._term = term
        self._registry = Registry(db, settings.adapters.uri)
        self._storage = FileStorage(settings.files.uri)
        self.ending = False
        """Whether it has trained: what is left is short, and better ended than cut."""
        self._telling = asyncio.Lock()
        self._work: Path | None = None
        self._read = 0
        self._log: list[Entry] = []
        self._first: tuple[Entry, float] | None = None

    async def run(self) -> str:
        """Take the job to its end; returns the version.

        Raises:
            SwitchboardError: It cannot be done, or not now.
        """
        job, recipe = self._job, self._recipe
        read = await material.read(self._storage, job, recipe)
        built = await material.build(self._db, job, read, recipe, self._out / "datasets")
        validation = await asyncio.to_thread(material.validation_rows, job, built, self._own)
        run = Fitting(
            lob=job.lob,
            settings=self._settings,
            recipe=recipe,
            out=self._out,
            db=self._db,
            registry=self._registry,
            base_hash=await asyncio.to_thread(artifacts.model_hash, self._settings.model),
            name=job.id,
        )
        trained_adapter.check_rank(recipe, self._settings)
        async with AsyncExitStack() as stack:
            watched = _Watched(
                self._trainer or executor.make(recipe.resources, self._settings), self
            )
            if self._trainer is None:
                await stack.enter_async_context(watched)
            trained = await fitting.train(run, built, watched, stack, validation_file=validation)
            self.ending = True
            version = await fitting.register(run, built, trained)
            try:
                await self._end(version.name, trained)
            except Conflict:
                if not await self._took_back(version.name):
                    raise
        await asyncio.to_thread(shutil.rmtree, self._own, ignore_errors=True)
        return version.name

    async def begins(self, work: Path) -> None:
        """Follow the training in a folder; says so if it goes on from a checkpoint."""
        self._work = work
        found = await asyncio.to_thread(common.last_checkpoint, work / common.CHECKPOINTS)
        if found is not None:
            step = found.rpartition("-")[2]
            said = JobEvent(message=f"Training goes on from the checkpoint at step {step}")
            await progress.tell(self._db, self._job.id, self._term, [said])

    async def tell(self) -> None:
        """Note what the training has logged since the last look.

        Raises:
            Conflict: The job is not ours any more.
            StoreUnavailable: The store does not answer; it is told the next time.
        """
        async with self._telling:
            await self._tell()

    async def _tell(self) -> None:
        if self._work is None:
            return
        new, read = await asyncio.to_thread(self._logged, self._work / tracking.STEPS)
        if new:
            log = [*self._log, *new]
            told = step_log.events(new)
            points = step_log.checkpoints(log)[-len(new) :]
            at = {} if (end := self._estimate(new)) is None else {"estimated_finish": end}
            await progress.tell(self._db, self._job.id, self._term, told, points, **at)
            self._log, self._read = log, read

    async def clean(self) -> None:
        """Remove what a cancelled job leaves."""
        for folder in (self._work, self._own):
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @property
    def _own(self) -> Path:
        return self._out / "jobs" / self._job.id

    def _logged(self, file: Path) -> tuple[list[Entry], int]:
        try:
            with file.open("rb") as log:
                log.seek(self._read)
                found, length = step_log.entries(log.read().decode())
        except FileNotFoundError:
            return [], self._read
        return found, self._read + length

    def _estimate(self, new: list[Entry]) -> float | None:
        steps, now = [entry for entry in new if "step" in entry], time.time()
        if not steps:
            return None
        if self._first is None:
            # What a runner before this one logged came long ago: the pace is ours.
            self._first = steps[-1], now
        return step_log.finish_at(self._first[0], self._first[1], steps[-1], now)

    async def _end(self, version: str, trained: Trained) -> None:
        """Write the results, and end the job unless it was cancelled in this very moment."""
        result, job = trained.result, self._job
        if trained.work is not None:
            self._work = trained.work
            await self.tell()
        log = self._log or step_log.of_result(result)
        figures = step_log.by_step(log)
        last = figures.get(result.steps, {"step": result.steps})
        if result.validation_loss is not None:
            last = last | {"full_valid_loss": result.validation_loss}
        points = [JobCheckpoint(step=result.steps, metrics=last | {"final": True})]
        told = [] if self._log else step_log.events(log)
        await progress.tell(self._db, job.id, self._term, told, points)
        training = asdict(result)
        del training["adapter"]
        metrics: Json = {
            "fine_tuning_job": job.id,
            **{name: value for name, value in last.items() if name.endswith("_loss")},
            "training": training,
            **({"suffix": job.suffix} if job.suffix else {}),
        }
        await self._registry.set_metrics(version, metrics)
        file = await self._results(step_log.as_csv(log), len(figures))
        done = await jobs.move(
            self._db,
            job.id,
            Step.SUCCEED,
            [
                JobEvent(message=f"New fine-tuned model created: {version}"),
                JobEvent(message="The job has successfully completed"),
            ],
            term=self._term,
            fine_tuned_model=version,
            trained_tokens=hyperparameters.trained_tokens(self._recipe, result),
            result_files=[file.id],
        )
        if done is None:
            raise Conflict(f"The job {job.id} is no longer this runner's.")

    async def _results(self, content: bytes, rows: int) -> FileRecord:
        job = self._job
        record = FileRecord(
            id=self._file,
            key_id=job.key_id,
            scope=scope_of([job.lob]),
            purpose=lines.RESULTS,
            filename=f"{job.id}_metrics.csv",
            bytes=len(content),
            lines=rows,
        )
        await files.forget(self._db, record.id)  # a runner that died may have written it
        rules = self._settings.files
        limits = FileLimits(rules.max_bytes, rules.quota_bytes, rules.max_bytes)
        return await Files(self._db, self._storage, limits).keep(record, io.BytesIO(content))

    @property
    def _file(self) -> str:
        """The results' id: whoever writes them again writes the same file."""
        return f"file-{self._job.id.removeprefix('ftjob-')}"

    async def _took_back(self, version: str) -> bool:
        """Take back what a job made that was cancelled as it ended; else the version stays."""
        if (await jobs.get(self._db, self._job.id)).status is not JobState.CANCELLED:
            return False
        why = {"metric": "", "rule": "cancelled", "passed": False, "enough": True}
        reason = why | {"text": f"The job {self._job.id} was cancelled."}
        decision = {"accepted": False, "against": "", "reasons": [reason]}
        await self._registry.reject(version, decision)
        await self._storage.delete(self._file)
        await files.forget(self._db, self._file)
        return True
