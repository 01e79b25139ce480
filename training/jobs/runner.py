"""Works on fine-tuning jobs: validates their files, and trains one job at a time.

A job is worked on under its lease, by one runner; one that is killed loses it, and the next goes on
from the last checkpoint, where `out` is the same folder. What a runner writes names its lease's
term, so one that lost the job, or whose job was cancelled or paused, changes nothing more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving.config.settings import Settings
from serving.errors import Conflict, SwitchboardError, Unavailable
from serving.files.storage import FileStorage
from serving.store import leases
from serving.store.database import Database
from serving.store.jobs import jobs, state
from serving.store.jobs.records import JobEvent, JobRecord
from serving.store.jobs.state import JobState, Step
from serving.store.records import Json
from training.errors import WorkerLost
from training.execution.executor import Trainer
from training.flywheel import lease
from training.jobs import hyperparameters, material
from training.jobs.fine_tune import FineTune
from training.recipe.recipe import Recipe

logger = logging.getLogger(__name__)
UNEXPECTED = "The runner met a fault that it has no name for; its log says which."


@dataclass
class JobRunner:
    """Works on jobs, one training after the other.

    Args:
        db: The store, open.
        settings: The server's configuration.
        recipes: The recipe of a line of business.
        owner: Who this runner is; shown to people, and different for each process.
        out: Folder for datasets and runs.
        lease_s: Seconds of silence after which another runner takes a job over.
        look_s: Seconds between two looks for jobs, and at whether one goes on.
        trainer: A trainer to use; None starts the one that the recipe names, for each job.
        training: What must be free to train.
    """

    db: Database
    settings: Settings
    recipes: Callable[[str], Recipe]
    owner: str
    out: Path = Path("runs")
    lease_s: float = 60.0
    look_s: float = 1.0
    trainer: Trainer | None = None
    training: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def run(self) -> None:
        """Work until cancelled; files are validated while another job trains."""

        async def follow(look: Callable[[], Awaitable[bool]]) -> None:
            while True:
                busy = False
                try:
                    busy = await look()
                except SwitchboardError as exc:  # the store is down, or a job was lost
                    logger.info(f"jobs: {exc.message}")
                if not busy:
                    await asyncio.sleep(self.look_s)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self.validate))
            group.create_task(follow(self.train))

    async def drain(self) -> int:
        """Work until no job is left that this runner could take; returns how many it trained."""
        done = 0
        while await self.validate() or await self.train():
            done += 1
        return done

    async def validate(self) -> bool:
        """Validate the files of all jobs that wait for it; returns False, as nothing is left.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        for job in await jobs.waiting(self.db):
            if job.state is JobState.VALIDATING:
                await self._validate(await jobs.get(self.db, job.id))
        return False

    async def train(self) -> bool:
        """Train the job whose turn it is; returns whether there was one.

        Raises:
            StoreUnavailable: The store does not answer.
            Conflict: The job was lost to another runner.
        """
        async with self.training:
            held = await leases.holders(self.db)
            every = await jobs.waiting(self.db)
            busy = {job.id for job in every if jobs.lease(job.id) in held}
            for waiting in state.in_turn(every, busy):
                name = jobs.lease(waiting.id)
                async with lease.held(self.db, name, self.owner, self.lease_s) as term:
                    job = await jobs.take(self.db, waiting.id, term) if term is not None else None
                    again = await self._work(job, term) if job and term else False
                if job is not None:
                    await jobs.tidy(self.db, waiting.id)
                    return again
        return False

    async def _validate(self, job: JobRecord) -> None:
        try:
            recipe = self._recipe(job)
            found = await material.read(FileStorage(self.settings.files.uri), job, recipe)
        except Unavailable as exc:
            logger.info(f"{job.id}: its files are validated later: {exc}")
            return
        except SwitchboardError as exc:
            await self._fail(job, exc)
            return
        told = [JobEvent(message="Files validated, moving job to queued state")]
        if found.unused:
            said = f"{found.unused} lines repeat others or prefer nothing, and are not learned from"
            told.append(JobEvent(message=said, level="warn"))
        method = hyperparameters.method_of(recipe, job)
        await jobs.move(self.db, job.id, Step.ACCEPT, told, method=method)
        logger.info(f"{job.id}: validated")

    async def _work(self, job: JobRecord, term: int) -> bool:
        """Train a job while it is ours; returns whether to look for the next at once."""
        logger.info(f"{job.id}: {job.lob} from {job.training_file}")
        if state.is_given_up(job.attempts):
            said = f"{state.ATTEMPTS} runners died over it without a step between"
            await self._fail(job, Conflict(said), term)
            return True
        try:
            recipe = self._recipe(job)
        except SwitchboardError as exc:
            await self._fail(job, exc, term)
            return True
        run = FineTune(self.db, self.settings, recipe, self.out, self.trainer, job, term)
        try:
            version = await self._until_told(run, job.id, term)
        except (Conflict, Unavailable, WorkerLost) as exc:
            logger.info(f"{job.id}: is tried again: {exc}")
            return False
        except SwitchboardError as exc:
            await self._fail(job, exc, term)
        except Exception as exc:
            logger.exception(f"{job.id} failed")
            await self._fail(job, SwitchboardError(UNEXPECTED, reason=repr(exc)), term)
        else:
            logger.info(f"{job.id}: {version}")
        now = await jobs.get(self.db, job.id)
        if now.is_over and now.status is not JobState.SUCCEEDED:
            await run.clean()
        return True

    async def _until_told(self, run: FineTune, id_: str, term: int) -> str:
        """Run a job until its end, or until it is cancelled or paused; returns what came of it."""
        work = asyncio.create_task(run.run())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=self.look_s)
                with suppress(Unavailable):  # the lease ends if that lasts
                    if not run.ending and not await jobs.goes_on(self.db, id_, term):
                        break
                    await run.tell()
        except Conflict:  # told between the two
            pass
        finally:
            if not run.ending or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                work.cancel()
            await asyncio.wait({work})
        return "stopped, as it was told" if work.cancelled() else work.result()

    def _recipe(self, job: JobRecord) -> Recipe:
        self.settings.require_lob(job.lob)
        return hyperparameters.recipe_of(self.recipes(job.lob), job, self.settings.served_name)

    async def _fail(self, job: JobRecord, exc: SwitchboardError, term: int | None = None) -> None:
        error: Json = {"code": _code(exc), "message": exc.message, "param": exc.param}
        told = [JobEvent(message=f"The job failed: {exc.message}", level="error")]
        await jobs.move(self.db, job.id, Step.FAIL, told, term=term, error=error)
        logger.info(f"{job.id}: failed: {exc}")


def _code(exc: SwitchboardError) -> str:
    """Return OpenAI's code where there is one."""
    files = {"training_file": "invalid_training_file", "validation_file": "invalid_validation_file"}
    return files.get(exc.param or "", exc.code) if isinstance(exc, material.FileFault) else exc.code
