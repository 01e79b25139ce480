"""Ray Serve: the replica, the coordinator's actor, and starting both.

The only module of serving that imports Ray. A replica is one process that holds the engine's
client, vLLM's app and our gateway (one hop from the front proxy); the coordinator is a named actor
that Ray restarts if it dies.
"""

import asyncio
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import serve
from ray.experimental import internal_kv
from ray.serve import context as serve_context
from ray.serve.config import HTTPOptions, ProxyLocation

from serving import errors, haproxy, ray_environment, serve_options
from serving.apply import Applier
from serving.errors import ConfigError, RolloutFailed, SwitchboardError, Unavailable
from serving.members import Command
from serving.registry import Registry
from serving.revision import Revision
from serving.rollout import Coordinator, Rollout
from serving.settings import Settings
from serving.store.database import Database
from serving.store.records import Route

logger = logging.getLogger(__name__)
APP = "switchboard"
COORDINATOR = "switchboard-coordinator"
SERVE_NAMESPACE = "serve"
REPLICA_PREFIX = "SERVE_REPLICA::"
RETRY_S = 0.3
RAY_STARTS = 5
STOP_CHECK_S = 0.5
SCREEN_LINES = 15
WATCH_S = 0.05
LOCATIONS = {"every_node": ProxyLocation.EveryNode, "head": ProxyLocation.HeadOnly}
KEPT = "switchboard-config"  # key in Ray's store: the revision in force, and one being applied


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=1000)
class CoordinatorActor:
    """`Coordinator` as a Ray actor. `expected` is every replica alive when it (re)starts."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        # Not opened here: `start` has, and a coordinator must come back while the store is down.
        db = Database(settings.store.url)
        revision, pending = await asyncio.to_thread(_kept)
        rollouts = (revision.settings if revision else settings).rollouts
        self._coordinator = Coordinator(
            Registry(db, settings.adapters.uri),
            alive=_alive,
            fence=_fence,
            prepare_timeout_s=rollouts.prepare_timeout_s,
            lost_after_s=rollouts.lost_after_s,
            expected=_replicas(),
            revision=revision,
        )
        self._applier = Applier(
            self._coordinator, db, deploy=_deploy, keep=_keep, short_of=_short_of
        )
        self._recovery = asyncio.create_task(self._applier.recover(pending))

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the coordinator by name."""
        return await getattr(self._coordinator, method)(*args)

    async def rollout(self, action: str, options: dict[str, Any]) -> Rollout | SwitchboardError:
        """Run a rollout; our own errors are returned, since Ray would wrap them."""
        try:
            done: Rollout = await getattr(self._coordinator, action)(**options)
        except SwitchboardError as exc:
            return exc
        return done

    async def config(self, action: str, options: dict[str, Any]) -> Any:
        """Call a method of the applier; our own errors are returned."""
        try:
            return await getattr(self._applier, action)(**options)
        except SwitchboardError as exc:
            return exc


def _replicas() -> list[str]:
    """The replicas that have a process.

    Named actors are also those that wait for a place, after the loss of a node perhaps for ever:
    to wait for their report would hold up every rollout.
    """
    from ray._private import state  # Ray's public state API needs its dashboard

    names = [actor["Name"] for actor in state.actors(actor_state_name="ALIVE").values()]
    return [name for name in names if name.startswith(f"{REPLICA_PREFIX}{APP}#")]


async def _alive(replica: str) -> bool:
    return replica in await asyncio.to_thread(_replicas)


async def _fence(replica: str) -> None:
    def kill() -> None:
        try:
            ray.kill(ray.get_actor(replica, namespace=SERVE_NAMESPACE))
        except ValueError:
            return  # it is gone already

    logger.error("%s does not answer; it is replaced", replica)
    await asyncio.to_thread(kill)


@serve.deployment(name="replica")
@serve.ingress()
class Replica:
    """One engine behind one gateway."""

    async def __init__(self, revision: Revision) -> None:  # type: ignore[misc]  # Serve too
        # Imported here: the driver and the coordinator need no engine.
        from serving.replica import start

        self._tasks: list[asyncio.Task[None]] = []
        self._name = serve.get_replica_context().replica_id.to_full_id_str()
        self._coordinator = ray.get_actor(COORDINATOR, namespace=APP)
        self._parts = await start(revision, self._name, self._rollout, self._config)
        await self._enter()
        self._tasks = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._cut_when_stopped()),
        ]

    def __serve_build_asgi_app__(self) -> Any:
        return self._parts.gateway

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
                logger.critical("%s ends, to be replaced: %s", self._name, exc.message)
                os.kill(os.getpid(), signal.SIGKILL)

    async def _rollout(self, action: str, options: dict[str, Any]) -> Rollout:
        done: Rollout = await _unwrapped(self._coordinator.rollout.remote(action, options))
        return done

    async def _config(self, action: str, options: dict[str, Any]) -> Any:
        return await _unwrapped(self._coordinator.config.remote(action, options))

    async def _cut_when_stopped(self) -> None:
        """End requests at the limit, before Serve kills the process and their records with it."""
        while not _told_to_stop():  # noqa: ASYNC110 - Serve gives no event
            await asyncio.sleep(STOP_CHECK_S)
        gateway = self._parts.gateway
        await gateway.drain(gateway.settings.http.drain_s, refuse=False)

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
                try:
                    commands = await self._call("poll", self._name)
                    if commands is None:
                        await self._enter()
                        continue
                except ray.exceptions.RayError:
                    await asyncio.sleep(RETRY_S)
                    continue
                except SwitchboardError:
                    logger.exception("%s cannot enter; it tries again", self._name)
                    await asyncio.sleep(RETRY_S)
                    continue
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
                    await self._parts.gateway.drain(command.limit_s, refuse=True)
                else:
                    await self._parts.adapters.activate(command.routes)
            except SwitchboardError as exc:
                error = exc
            except Exception as exc:
                logger.exception("%s failed", command.kind)
                error = SwitchboardError(f"{command.kind} failed: {exc}")
            try:
                await self._call("ack", self._name, command.id, error)
            except ray.exceptions.RayError:
                continue  # a new coordinator will ask us to enter again

    def _call(self, method: str, *args: Any) -> Awaitable[Any]:
        called: Awaitable[Any] = self._coordinator.call.remote(method, *args)
        return called


def wait() -> None:
    """Stay until SIGINT or SIGTERM, then stop the server gracefully."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    try:
        coordinator = ray.get_actor(COORDINATOR, namespace=APP)
        limit_s = ray.get(coordinator.call.remote("revision")).settings.http.drain_s
        ray.get(coordinator.call.remote("drain", limit_s), timeout=limit_s + serve_options.STOP_S)
    except (ray.exceptions.RayError, ValueError) as exc:
        logger.warning("The replicas are stopped without a drain: %s", exc)
    serve.shutdown()
    ray.shutdown()


def start(revision: Revision) -> None:
    """Start Ray (or join it), the coordinator and the replicas; return when they answer."""
    settings = revision.settings
    asyncio.run(_open(settings))
    address = settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    environment = ray_environment.prepare(
        settings, local=address == "local", haproxy_binary=_haproxy_binary
    )
    if not ray.is_initialized():
        _start_ray(
            address=address,
            namespace=APP,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            # A cluster that runs already has read its own environment.
            runtime_env=None if address == "local" else {"env_vars": environment},
        )
    settings.ray_address_file.parent.mkdir(parents=True, exist_ok=True)
    settings.ray_address_file.write_text(ray.get_runtime_context().gcs_address + "\n")
    coordinator = CoordinatorActor.options(  # type: ignore[attr-defined]
        name=COORDINATOR, namespace=APP, get_if_exists=True, lifetime="detached"
    ).remote(settings)
    try:
        ray.get(coordinator.config.remote("begin", {"revision": revision}))
    except ray.exceptions.RayError as exc:
        raise ConfigError(
            f"The coordinator could not start.\n{errors.root_cause(str(exc))}"
        ) from exc
    serve.start(
        http_options=HTTPOptions(
            host=haproxy.inside(
                settings.http.host,
                wrapped=address == "local" and settings.http.proxy == "haproxy",
            ),
            port=settings.http.port,
            location=LOCATIONS[settings.http.proxy_on],
        ),
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve._run(_bound(revision), name=APP, route_prefix="/", _blocking=False)
    _wait_until_running()


def _wait_until_running() -> None:
    """Wait for the replicas. A wrong configuration ends it at once, other failures Serve retries.

    Raises:
        ConfigError: They cannot start, and why.
    """
    while (app := serve.status().applications[APP]).status != "RUNNING":
        reason = "\n".join(d.message for d in app.deployments.values() if d.message)
        cause = errors.root_cause(reason)
        if cause != reason or app.status == "DEPLOY_FAILED":
            last = "\n".join((cause or app.message).splitlines()[-SCREEN_LINES:])
            raise ConfigError(f"The server could not start.\n  {last}\n{_logs()}")
        time.sleep(RETRY_S)
    try:
        serve_context._get_global_client().wait_for_proxies_serving()
    except TimeoutError as exc:
        raise ConfigError(
            f"http: the proxy does not reach the replicas: {exc} Look at http.host.\n{_logs()}"
        ) from exc


def _logs() -> str:
    folder = ray._private.worker.global_worker.node.get_logs_dir_path()
    return f"The full logs: {folder}/worker-*.err and {folder}/serve/"


def _haproxy_binary() -> str:
    from ray.serve._private.haproxy import get_haproxy_binary

    return str(get_haproxy_binary())


def _start_ray(**options: Any) -> None:
    """Start Ray or join it. It gives a node thirty seconds, which a busy machine may exceed."""
    for attempt in range(RAY_STARTS):
        try:
            ray.init(**options)
        except Exception as exc:  # Ray raises no narrower one
            if attempt == RAY_STARTS - 1 or "timed out during startup" not in str(exc):
                raise
            logger.warning("Ray did not start in time; trying again")
            ray.shutdown()
        else:
            return


def _bound(revision: Revision) -> serve.Application:
    # With a version by content, Serve restarts only what differs: a redeployed old revision finds
    # its replicas still there. Without one, every deployment restarts all.
    options = serve_options.deployment(revision.settings)
    deployment = Replica.options(  # type: ignore[attr-defined]
        version=revision.heavy_hash, _internal=True, **options
    )
    return deployment.bind(revision)


async def _deploy(revision: Revision) -> None:
    """Run the replicas of a revision in place of those that run."""
    await asyncio.to_thread(_roll, revision)


def _roll(revision: Revision) -> None:
    serve._run(_bound(revision), name=APP, route_prefix="/", _blocking=False)
    limit_s = revision.settings.rollouts.apply_timeout_s
    deadline = time.monotonic() + limit_s
    while (app := serve.status().applications[APP]).status != "RUNNING":
        # The first failure ends it: the old replicas still answer, there is nothing to wait for.
        reason = "; ".join(d.message for d in app.deployments.values())
        if app.status == "DEPLOY_FAILED" or "failed to start" in reason:
            raise RolloutFailed(f"A replica could not start: {errors.root_cause(reason)}")
        if time.monotonic() > deadline:
            raise RolloutFailed(f"The replicas did not restart within {limit_s:g} s. {reason}")
        time.sleep(RETRY_S)


async def _short_of(settings: Settings) -> list[str]:
    return serve_options.missing(settings, await asyncio.to_thread(ray.available_resources))


async def _keep(revision: Revision, pending: Revision | None) -> None:
    data = pickle.dumps((revision, pending))
    await asyncio.to_thread(internal_kv._internal_kv_put, KEPT, data, namespace=APP)


def _kept() -> tuple[Revision | None, Revision | None]:
    data = internal_kv._internal_kv_get(KEPT, namespace=APP)
    return pickle.loads(data) if data else (None, None)  # noqa: S301 - our own, in Ray's store


async def _unwrapped(call: Awaitable[Any]) -> Any:
    """What the coordinator answered, its errors raised."""
    try:
        done = await call
    except ray.exceptions.RayError as exc:
        raise Unavailable("The coordinator restarted. Look at the state and try again.") from exc
    if isinstance(done, SwitchboardError):
        raise done
    return done


def _told_to_stop() -> bool:
    """Whether Serve is stopping this replica; it has no hook for that before the drain is over."""
    actors = ray._private.worker.global_worker.actors.values()
    replicas = (getattr(actor, "_replica_impl", None) for actor in actors)
    return any(getattr(replica, "_shutting_down", False) for replica in replicas)


async def _open(settings: Settings) -> None:
    """Bring the store's tables up to date, waiting for the store if need be."""
    db = Database(settings.store.url)
    await db.open_when_up()
    await db.close()
