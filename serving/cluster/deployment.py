"""Starting Ray, the coordinator and the replicas, and stopping them."""

import asyncio
import logging
import os
import signal
import threading
import time
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from serving import errors
from serving.cluster import environment as ray_environment
from serving.cluster import joining, ray_internals
from serving.cluster import options as serve_options
from serving.cluster.coordinator_actor import CoordinatorActor
from serving.cluster.replica_deployment import APP, COORDINATOR, RETRY_S, bound
from serving.config.revision import Revision
from serving.config.settings import Settings
from serving.errors import ConfigError
from serving.observability import logs
from serving.store.database import Database

logger = logging.getLogger(__name__)
RAY_STARTS = 5
SCREEN_LINES = 15
HEAD = "node:__internal_head__"  # a resource that only Ray's head has
LOCATIONS = {"every_node": ProxyLocation.EveryNode, "head": ProxyLocation.HeadOnly}


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
    address = joining.address(settings)
    local = address == joining.LOCAL
    logs.configure(settings.telemetry.log_format)
    joining.check_tls(settings, address)
    if not local:
        joining.check_token(ray_internals.has_token())
    asyncio.run(open_store(settings))
    environment = ray_environment.prepare(
        settings, local=local, haproxy_binary=ray_internals.haproxy_binary
    )
    if local:
        ray_internals.stay_on_loopback()
    if not ray.is_initialized():
        _start_ray(
            address=address,
            _temp_dir=str(ray_environment.ray_folder()) if local else None,
            namespace=APP,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            # A cluster that runs already has read its own environment.
            runtime_env=None if local else {"env_vars": environment},
        )
    if local:
        ray_internals.end_log_monitor()
    else:
        joining.check_private(ray.get_runtime_context().gcs_address)
    settings.ray_address_file.parent.mkdir(parents=True, exist_ok=True)
    settings.ray_address_file.write_text(ray.get_runtime_context().gcs_address + "\n")
    coordinate(revision)
    # On one machine HAProxy alone listens outside: its bind is ours (haproxy.py), and replicas take
    # the address that Serve has.
    behind = local and settings.http.proxy == "haproxy"
    tls = None if behind else settings.http.tls
    serve.start(
        http_options=HTTPOptions(
            host=ray_environment.LOOPBACK if behind else settings.http.host,
            port=settings.http.port,
            location=LOCATIONS[settings.http.proxy_on],
            ssl_certfile=tls and str(tls.certificate),
            ssl_keyfile=tls and str(tls.key),
        ),
        logging_config={
            "enable_access_log": False,
            "log_level": "WARNING",
            "encoding": settings.telemetry.log_format.upper(),
        },
    )
    ray_internals.run(bound(revision), APP)
    _wait_until_running()


def coordinate(revision: Revision) -> None:
    """Start the coordinator, or give the one that runs the configuration; the store is open.

    It runs on the head: without that machine there is no cluster, and one that is cut off from the
    head has no coordinator that could promote on its own.

    Raises:
        ConfigError: The coordinator cannot start.
    """
    coordinator = CoordinatorActor.options(  # type: ignore[attr-defined]
        name=COORDINATOR,
        namespace=APP,
        get_if_exists=True,
        lifetime="detached",
        resources={HEAD: 0.001},
    ).remote(revision.settings)
    try:
        ray.get(coordinator.config.remote("begin", {"revision": revision}))
    except ray.exceptions.RayError as exc:
        raise ConfigError(
            f"The coordinator could not start.\n{errors.root_cause(str(exc))}"
        ) from exc


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
        ray_internals.wait_for_proxies()
    except TimeoutError as exc:
        raise ConfigError(
            f"http: the proxy does not reach the replicas: {exc} Look at http.host.\n{_logs()}"
        ) from exc


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


async def open_store(settings: Settings) -> None:
    """Bring the store's tables up to date, waiting for the store if need be."""
    db = Database(settings.store_address)
    await db.open_when_up()
    await db.close()


def _logs() -> str:
    folder = ray_internals.logs_folder()
    return f"The full logs: {folder}/worker-*.err and {folder}/serve/"
