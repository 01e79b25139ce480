"""Starting Ray, the coordinator and the replicas, and stopping them."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import threading
import time
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from serving import errors
from serving.cluster import environment as ray_environment
from serving.cluster import options as serve_options
from serving.cluster import ray_internals
from serving.cluster.coordinator_actor import CoordinatorActor
from serving.cluster.replica_deployment import APP, COORDINATOR, RETRY_S, bound
from serving.config.revision import Revision
from serving.config.settings import Settings
from serving.errors import ConfigError
from serving.store.database import Database

logger = logging.getLogger(__name__)
RAY_STARTS = 5
SCREEN_LINES = 15
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
    asyncio.run(_open(settings))
    address = settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    environment = ray_environment.prepare(
        settings, local=address == "local", haproxy_binary=ray_internals.haproxy_binary
    )
    if address == "local":
        ray_internals.stay_on_loopback()
    else:
        _check_token()
    if not ray.is_initialized():
        _start_ray(
            address=address,
            _temp_dir=str(ray_environment.ray_folder()) if address == "local" else None,
            namespace=APP,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            # A cluster that runs already has read its own environment.
            runtime_env=None if address == "local" else {"env_vars": environment},
        )
    if address != "local":
        _check_private(ray.get_runtime_context().gcs_address)
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
    # On one machine HAProxy alone listens outside: its bind is ours (haproxy.py), and replicas take
    # the address that Serve has.
    behind = address == "local" and settings.http.proxy == "haproxy"
    tls = None if behind else settings.http.tls
    serve.start(
        http_options=HTTPOptions(
            host=ray_environment.LOOPBACK if behind else settings.http.host,
            port=settings.http.port,
            location=LOCATIONS[settings.http.proxy_on],
            ssl_certfile=tls and str(tls.certificate),
            ssl_keyfile=tls and str(tls.key),
        ),
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    ray_internals.run(bound(revision), APP)
    _wait_until_running()


def _check_token() -> None:
    """Refuse to join a cluster that anybody who reaches it may run code on.

    Raises:
        ConfigError: This process asks for no token, or has none.
    """
    if not ray_internals.has_token():
        raise ConfigError(
            "ray_address: a cluster is joined only with Ray's token, since whoever reaches one "
            "without runs code on it. Set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN on every "
            "machine, before `ray start` too (docs/clusters.md).",
            param="ray_address",
        )


def _check_private(address: str) -> None:
    """Refuse a cluster that listens on a public address.

    Raises:
        ConfigError: It does.
    """
    host = address.rpartition(":")[0].strip("[]")
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    if public := [one for one in found if ipaddress.ip_address(one).is_global]:
        raise ConfigError(
            f"ray_address: the cluster listens on {public[0]}, a public address. Start its "
            "machines with `ray start --node-ip-address=` and an address of a private network.",
            param="ray_address",
        )


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


async def _open(settings: Settings) -> None:
    """Bring the store's tables up to date, waiting for the store if need be."""
    db = Database(settings.store.url)
    await db.open_when_up()
    await db.close()


def _logs() -> str:
    folder = ray_internals.logs_folder()
    return f"The full logs: {folder}/worker-*.err and {folder}/serve/"
