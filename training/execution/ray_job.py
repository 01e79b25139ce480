"""Jobs on the serving cluster, on resources that Ray sets apart from the replicas'.

The only module of training that imports Ray. An actor, placed by Ray, holds the resources and runs
the same process as a local job does (local.py), so the adapter's bytes are the same. What the job
reads goes there, and the adapter comes back, through Ray's object store: machines need share no
disk. Ray ends the actor with its caller, however that ends, and the process ends with the actor.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray._private import ray_constants
from ray._private.authentication import authentication_token_setup as tokens

from serving import file_lock
from training.errors import FineTuneFailed, TrainingError, WorkerLost
from training.execution import nice, transfer
from training.execution.local import MODULE, Worker
from training.execution.transfer import Shipment
from training.recipe.resources import ResourcesConfig
from training.trainers.job import Job, Result

NAMESPACE = "switchboard-training"
CONNECT_S = 5.0
BETWEEN_TRIES_S = 1.0


@ray.remote(max_restarts=0, max_task_retries=0)
class TrainingActor:
    """Holds a job's resources; its process does the work. Our own errors are returned as values."""

    def __init__(self, resources: ResourcesConfig) -> None:
        # Ray would set it too, but not over what the server was started with.
        os.environ["OMP_NUM_THREADS"] = str(max(1, int(resources.cpus)))
        self._worker = Worker(nice.command(resources.niceness, MODULE))
        self._root = resources.folder

    async def start(self) -> int | None:
        """Start the process; return its id."""
        await self._worker.start()
        return self._worker.pid

    async def train(
        self, job: dict[str, Any], inputs: dict[str, Shipment]
    ) -> tuple[Result, Shipment] | TrainingError:
        """Run a job here; its folder stays if it fails, for its checkpoints."""
        try:
            root = Path(self._root) if self._root else _private_folder()
            folder = root / transfer.name(job, inputs)
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                here = {
                    key: str(transfer.unpack(files, folder / "inputs" / key))
                    for key, files in inputs.items()
                }
                result = await self._worker.train(Job(**job | here | {"out": str(folder / "out")}))
                adapter = transfer.pack(Path(result.adapter))
                shutil.rmtree(folder, ignore_errors=True)
        except TrainingError as exc:
            return exc
        return result, adapter


class RayWorker:
    """Does jobs on a Ray cluster, one after the other; a `Trainer`.

    Args:
        resources: What a job holds.
        address: The cluster's; this machine must belong to it.
    """

    def __init__(self, resources: ResourcesConfig, address: str) -> None:
        self._resources = resources
        self._address = address
        self._actor: Any = None
        self._joined = False
        self._turn = asyncio.Lock()
        self.pid: int | None = None

    async def __aenter__(self) -> Self:
        await self._join()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def train(self, job: Job) -> Result:
        """Run a job; the adapter's folder is in `job.out` on this machine.

        A worker that is lost is replaced `resources.retries` times. A caller that is cancelled
        ends the job.

        Raises:
            FineTuneFailed: The job failed, its workers were lost, or there is no room for it.
        """
        async with self._turn:
            await self._join()
            try:
                return await self._train(job)
            except TrainingError:
                raise  # the process is there for the next job
            except BaseException:
                self._end()
                raise

    async def close(self) -> None:
        """End the process on the cluster, whatever it does, and leave the cluster."""
        self._end()
        if self._joined:
            self._joined = False
            await asyncio.to_thread(ray.shutdown)

    async def _train(self, job: Job) -> Result:
        tries = 1 + self._resources.retries
        while True:
            tries -= 1
            try:
                await self._place()
                # Read for each try: a reference may die with the machine that holds the object.
                done = await self._actor.train.remote(asdict(job), transfer.inputs(job))
            except ray.exceptions.RayTaskError as exc:
                raise FineTuneFailed(f"{job.lob}: the training actor failed: {exc.cause}") from exc
            except ray.exceptions.RayError as exc:
                done = WorkerLost(f"{job.lob}: the worker on the cluster was lost: {exc}")
            if isinstance(done, WorkerLost):
                self._end()
            if isinstance(done, WorkerLost) and tries:
                await asyncio.sleep(BETWEEN_TRIES_S)
                continue
            if isinstance(done, TrainingError):
                raise done
            result, files = done
            return await asyncio.to_thread(_brought, job, result, files)

    async def _join(self) -> None:
        """Join the cluster as a driver."""
        if ray.is_initialized():
            return
        await _require(self._address)
        _use_token()
        _reach_loopback(self._address)
        try:
            ray.init(
                address=self._address,
                namespace=NAMESPACE,
                log_to_driver=False,
                configure_logging=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as exc:
            raise FineTuneFailed(f"the cluster at {self._address} cannot be joined: {exc}") from exc
        self._joined = True

    async def _place(self) -> None:
        """Have Ray place an actor, unless there is one, and wait until it has."""
        if self._actor is not None:
            return
        wanted = needs(self._resources)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(fits(wanted, machine) for machine in machines):
            raise FineTuneFailed(
                f"no machine of the cluster has {said(wanted)}; lower `resources`, or add one"
            )
        actor = TrainingActor.options(  # type: ignore[attr-defined]
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            resources=self._resources.custom,
        ).remote(self._resources)
        try:
            async with asyncio.timeout(self._resources.wait_s):
                self.pid = await actor.start.remote()
        except BaseException as exc:
            ray.kill(actor)
            if not isinstance(exc, TimeoutError):
                raise
            raise FineTuneFailed(
                f"{said(wanted)} were not free within {self._resources.wait_s:g} s; what serves "
                "holds the rest"
            ) from exc
        self._actor = actor

    def _end(self) -> None:
        actor, self._actor, self.pid = self._actor, None, None
        if actor is not None and ray.is_initialized():
            ray.kill(actor)


def _brought(job: Job, result: Result, files: Shipment) -> Result:
    """Write the adapter into the job's folder on this machine."""
    adapter = Path(job.out).absolute() / Path(result.adapter).name
    shutil.rmtree(adapter, ignore_errors=True)
    return replace(result, adapter=str(transfer.unpack(files, adapter)))


def needs(resources: ResourcesConfig) -> dict[str, float]:
    """What a job holds, by Ray's names."""
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus, **resources.custom}
    return {name: amount for name, amount in wanted.items() if amount}


def fits(wanted: dict[str, float], machine: dict[str, float]) -> bool:
    """Say whether a machine has as much in all."""
    return all(machine.get(name, 0.0) >= amount for name, amount in wanted.items())


def said(wanted: dict[str, float]) -> str:
    """Return resources as a person reads them: ``CPU: 1, GPU: 1``."""
    return ", ".join(f"{name}: {amount:g}" for name, amount in wanted.items())


async def _require(address: str) -> None:
    """Refuse at once what does not listen; Ray would try for a minute."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return  # auto
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as exc:  # a TimeoutError is one
        raise FineTuneFailed(
            f"no Ray cluster answers at {address}; the server that started it is gone"
        ) from exc
    writer.close()


def _use_token() -> None:
    """Show this user's Ray token, as Ray's own commands do: a server's cluster asks for it."""
    loader = tokens.AuthenticationTokenLoader.instance()
    if tokens.AUTH_MODE_ENV_VAR not in os.environ and loader.has_token(ignore_auth_mode=True):
        tokens._enable_token_auth()


def _reach_loopback(address: str) -> None:
    """Let Ray join a cluster that listens on loopback only, as a server of one machine does.

    Ray replaces a loopback address by this machine's own, where nothing listens then.
    """
    if address.rpartition(":")[0] in {"127.0.0.1", "[::1]", "localhost"}:
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes it starts
        ray_constants.ENABLE_RAY_CLUSTER = False


def _private_folder() -> Path:
    """A folder that no other user can have made or can read."""
    folder = Path(tempfile.gettempdir()) / f"switchboard-training-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink() or status.st_mode & 0o077:
        raise FineTuneFailed(f"{folder} is not private to this user; set resources.folder")
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with file_lock.held(folder.with_suffix(".lock")) as ours:
        if not ours:
            raise FineTuneFailed(f"{folder.name} is being trained there by another job")
        yield
