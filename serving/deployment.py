"""Ray Serve: the replica, the coordinator's actor, and starting both.

The only module that imports Ray. A replica is one process that holds the engine's client, vLLM's
app and our gateway (one hop from the front proxy); the coordinator is a named actor that Ray
restarts if it dies.
"""

import asyncio
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from serving import errors, haproxy, ports
from serving.errors import ConfigError, SwitchboardError, Unavailable
from serving.members import Command
from serving.registry import Registry
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
WATCH_S = 0.05


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=1000)
class CoordinatorActor:
    """`Coordinator` as a Ray actor. `expected` is every replica alive when it (re)starts."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        # Not opened here: `start` has, and a coordinator must come back while the store is down.
        self._coordinator = Coordinator(
            Registry(Database(settings.store.url), settings.adapters.uri),
            alive=_alive,
            fence=_fence,
            prepare_timeout_s=settings.rollouts.prepare_timeout_s,
            lost_after_s=settings.rollouts.lost_after_s,
            expected=_replicas(),
        )

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


def _replicas() -> list[str]:
    return [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["namespace"] == SERVE_NAMESPACE
        and actor["name"].startswith(f"{REPLICA_PREFIX}{APP}#")
    ]


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

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve too
        # Imported here: the driver and the coordinator need no engine.
        from serving.replica import start

        self._name = serve.get_replica_context().replica_id.to_full_id_str()
        self._coordinator = ray.get_actor(COORDINATOR, namespace=APP)
        self._parts = await start(settings, self._name, self._rollout)
        await self._enter()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._watch())]

    def __serve_build_asgi_app__(self) -> Any:
        return self._parts.gateway

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
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
                logger.critical("%s ends, to be replaced: %s", self._name, exc.message)
                os.kill(os.getpid(), signal.SIGKILL)

    async def _rollout(self, action: str, options: dict[str, Any]) -> Rollout:
        try:
            done = await self._coordinator.rollout.remote(action, options)
        except ray.exceptions.RayError as exc:
            raise Unavailable(
                "The coordinator restarted during the rollout. List the adapters and try again."
            ) from exc
        if isinstance(done, SwitchboardError):
            raise done
        return done  # type: ignore[no-any-return]

    async def _enter(self) -> None:
        """Load what is live and join, so that no rollout can pass this replica by."""
        routes: list[Route] = []
        while True:
            try:
                current = await self._call("enter", self._name, routes)
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
    serve.shutdown()
    ray.shutdown()


def start(settings: Settings) -> None:
    """Start Ray (or join it), the coordinator and the replicas; return when they answer."""
    ports.check(settings.http)
    asyncio.run(_open(settings))
    _environment(settings)
    if not ray.is_initialized():
        ray.init(
            address=os.environ.get("RAY_ADDRESS", "local"),
            namespace=APP,
            log_to_driver=False,
            configure_logging=False,
        )
    CoordinatorActor.options(  # type: ignore[attr-defined]
        name=COORDINATOR, namespace=APP, get_if_exists=True, lifetime="detached"
    ).remote(settings)
    serve.start(
        http_options=HTTPOptions(host=settings.http.host, port=settings.http.port),
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    resources = dict(settings.resources)
    deployment = Replica.options(  # type: ignore[attr-defined]
        num_replicas=settings.replicas,
        max_ongoing_requests=100_000,  # our own limits apply, not Serve's
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
        ray_actor_options={
            "num_cpus": resources.pop("num_cpus", 0),
            "num_gpus": resources.pop("num_gpus", 0),
            "resources": resources,
            "runtime_env": {"env_vars": settings.env},
        },
    )
    try:
        serve.run(deployment.bind(settings), name=APP, route_prefix="/")
    except RuntimeError as exc:
        details = serve.status().applications[APP]
        messages = [d.message for d in details.deployments.values()] or [details.message]
        raise ConfigError(
            "The server could not start.\n" + "\n".join(map(errors.root_cause, messages))
        ) from exc


async def _open(settings: Settings) -> None:
    """Bring the store's tables up to date, waiting for the store if need be."""
    db = Database(settings.store.url)
    await db.open_when_up()
    await db.close()


def _environment(settings: Settings) -> None:
    """Set what Ray reads from the environment, before Ray starts."""
    run_dir = Path(tempfile.mkdtemp(prefix="switchboard-"))
    defaults = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if settings.http.proxy == "haproxy" else "0",
        # One event loop for Serve, vLLM and us: a hand-over between threads per chunk is dear.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # HAProxy forgets a replica within a second; Serve would keep it for thirty.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
        # What a killed worker leaves behind, Ray ends.
        "RAY_process_group_cleanup_enabled": "true",
        # A dead HAProxy, or its actor, is noticed after three checks: Ray waits 10 s between two.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # Several servers on one machine must not share a proxy's files and ports.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.free()),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.free()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.free()),
    }
    if settings.http.proxy == "haproxy":
        from ray.serve._private.haproxy import get_haproxy_binary

        defaults["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(
            haproxy.wrapper(run_dir, get_haproxy_binary())
        )
        defaults["RAY_SERVE_HAPROXY_RETRY_ON"] = haproxy.RETRY_ON
        defaults["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"] = str(haproxy.BUFFER_BYTES)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
