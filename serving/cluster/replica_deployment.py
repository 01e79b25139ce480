"""A replica: one process with the engine's client, vLLM's app and our gateway.

It is one hop from the front proxy, and follows the coordinator.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import ray
from ray import serve

from serving import private_files
from serving.cluster import options as serve_options
from serving.cluster import ray_internals
from serving.cluster.lease import Lease, Leased
from serving.config.revision import Revision
from serving.errors import SwitchboardError, Unavailable
from serving.rollout.membership import POLL_S, Command
from serving.rollout.result import RolloutResult
from serving.store.records import Route

logger = logging.getLogger(__name__)
APP = "switchboard"
COORDINATOR = "switchboard-coordinator"
RETRY_S = 0.3
STOP_CHECK_S = 0.5
WATCH_S = 0.05


@serve.deployment(name="replica")
@serve.ingress()
class Replica:
    """One engine behind one gateway."""

    async def __init__(self, revision: Revision) -> None:  # type: ignore[misc]  # Serve too
        private_files.keep()
        ray_internals.keep_replica_on_its_node()
        # Imported here: the driver and the coordinator need no engine.
        from serving.cluster.replica import start

        self._tasks: list[asyncio.Task[None]] = []
        self._name = serve.get_replica_context().replica_id.to_full_id_str()
        self._coordinator = ray.get_actor(COORDINATOR, namespace=APP)
        calls = (self._rollout, self._config, self._pages)
        self._parts = await start(revision, self._name, *calls)
        await self._enter()
        self._lease = None if ray_internals.beside_the_head() else Lease()
        self._tasks = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._cut_when_stopped()),
            asyncio.create_task(self._parts.metrics_page.publish()),
        ]

    def __serve_build_asgi_app__(self) -> Any:
        gateway = self._parts.gateway
        return gateway if self._lease is None else Leased(gateway, self._lease)

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        with suppress(ray.exceptions.RayError):
            await self._call("leave", self._name)
        await self._parts.stop()

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        self._parts.engine.check()

    async def _watch(self) -> None:
        """End this process with its engine.

        Answering errors would be worse: quick failures draw requests from the other replicas,
        while HAProxy passes the requests of a dead one on to them.
        """
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                self._parts.engine.check()
            except Unavailable as exc:
                if self._parts.chains.reaches_upstreams:
                    return  # they answer until Serve replaces this replica
                logger.critical("%s ends, to be replaced: %s", self._name, exc)
                os.kill(os.getpid(), signal.SIGKILL)

    async def _keep_place(self, asked: float, *, unheard: bool) -> None:
        """End this replica if its cluster has given it up, as Serve has.

        Args:
            asked: When the coordinator was asked.
            unheard: Whether it could not be asked. Where it is down, nobody promotes, and a new one
                waits for every replica that Ray counts as alive: that is as good as its answer.
        """
        if self._lease is None:
            return
        try:
            lives = await asyncio.to_thread(ray_internals.lives, self._name)
            down = unheard and not await asyncio.to_thread(ray_internals.lives, COORDINATOR)
        except Exception as exc:  # Ray's, of a head that does not answer, are many
            logger.warning("Ray's head does not answer: %s", type(exc).__name__)
            return
        if not self._lease.has_place(lives):
            logger.critical("%s was given up by its cluster; it ends", self._name)
            os.kill(os.getpid(), signal.SIGKILL)
        if down:
            self._renew(asked)

    def _renew(self, asked: float) -> None:
        if self._lease is not None:
            self._lease.renew(asked, self._parts.gateway.settings.rollouts.lost_after_s)

    async def _rollout(self, action: str, options: dict[str, Any]) -> RolloutResult:
        done: RolloutResult = await _unwrapped(self._coordinator.rollout.remote(action, options))
        return done

    async def _config(self, action: str, options: dict[str, Any]) -> Any:
        return await _unwrapped(self._coordinator.config.remote(action, options))

    async def _pages(self, name: str, page: str) -> list[str]:
        others: list[str] = await self._coordinator.pages.remote(name, page)
        return others

    async def _cut_when_stopped(self) -> None:
        """End requests at the limit, before Serve kills the process and their records with it."""
        while not ray_internals.is_stopping():  # noqa: ASYNC110 - Serve gives no event
            await asyncio.sleep(STOP_CHECK_S)
        limit_s = self._parts.gateway.settings.http.drain_s
        await self._parts.drain(limit_s, refuse=False)

    async def _enter(self) -> None:
        """Load what is live and join, so that no rollout can pass this replica by."""
        routes: list[Route] = []
        while True:
            try:
                revision = await self._call("revision")
                if revision is not None and revision.hash != self._parts.revision:
                    self._parts.configure(revision)
                current = await self._call("enter", self._name, routes, self._parts.revision)
                if current is None:
                    return
                await self._parts.adapters.activate(current)
                routes = current
            except (ray.exceptions.RayError, Unavailable):  # the coordinator or the store is down
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        """Carry out the coordinator's commands, in order, for as long as this replica lives."""
        queue: asyncio.Queue[Command] = asyncio.Queue()
        worker = asyncio.create_task(self._work(queue))
        try:
            while True:
                asked = time.monotonic()
                try:
                    wait_s = POLL_S if self._lease is None else self._lease.poll_s
                    commands = await self._call("poll", self._name, wait_s)
                    if commands is None:
                        await self._keep_place(asked, unheard=False)
                        await self._enter()
                        continue
                except ray.exceptions.RayError:
                    await self._keep_place(asked, unheard=True)
                    await asyncio.sleep(RETRY_S)
                    continue
                except SwitchboardError:
                    logger.exception("%s cannot enter; it tries again", self._name)
                    await asyncio.sleep(RETRY_S)
                    continue
                self._renew(asked)
                for command in commands:
                    queue.put_nowait(command)
        finally:
            worker.cancel()

    async def _work(self, queue: "asyncio.Queue[Command]") -> None:
        while True:
            command = await queue.get()
            error: SwitchboardError | None = None
            try:
                if command.kind == "prepare" and command.version is not None:
                    await self._parts.adapters.prepare(command.version)
                elif command.kind == "configure" and command.revision is not None:
                    self._parts.configure(command.revision)
                elif command.kind == "drain":
                    await self._parts.drain(command.limit_s, refuse=True)
                else:
                    await self._parts.adapters.activate(command.routes)
            except SwitchboardError as exc:
                error = exc
            except Exception as exc:
                logger.exception("%s failed", command.kind)
                error = SwitchboardError(
                    f"{command.kind} failed; the replica's log says why", reason=f"{exc}"
                )
            try:
                await self._call("ack", self._name, command.id, error)
            except ray.exceptions.RayError:
                continue  # a new coordinator will ask us to enter again

    def _call(self, method: str, *args: Any) -> Awaitable[Any]:
        called: Awaitable[Any] = self._coordinator.call.remote(method, *args)
        return called


def bound(revision: Revision) -> serve.Application:
    """The Serve application of a revision."""
    # With a version by content, Serve restarts only what differs: a redeployed old revision finds
    # its replicas still there. Without one, every deployment restarts all.
    options = serve_options.deployment(revision.settings)
    deployment = Replica.options(  # type: ignore[attr-defined]
        version=revision.heavy_hash, _internal=True, **options
    )
    return deployment.bind(revision)


async def _unwrapped(call: Awaitable[Any]) -> Any:
    """What the coordinator answered, its errors raised."""
    try:
        done = await call
    except ray.exceptions.RayError as exc:
        raise Unavailable("The coordinator restarted. Look at the state and try again.") from exc
    if isinstance(done, SwitchboardError):
        raise done
    return done
