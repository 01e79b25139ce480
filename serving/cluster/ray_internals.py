"""Ray's private names, and nothing else uses them.

Each has a reason: there is no public way. `tests/serving/cluster/test_ray_internals.py` says what
breaks when Ray moves.
"""

import os

import ray
from ray import serve
from ray._common import tls_utils
from ray._common.network_utils import build_address
from ray._private import ray_constants, state
from ray._private.authentication import authentication_token_setup as tokens
from ray.experimental import internal_kv
from ray.serve import context
from ray.serve._private import replica as serve_replica
from ray.serve._private.haproxy import get_haproxy_binary

REPLICA_PREFIX = "SERVE_REPLICA::"


def live_replicas(app: str) -> list[str]:
    """The replicas of a Serve application that have a process.

    Named actors are also those that wait for a place, after the loss of a node perhaps for ever:
    to wait for their report would hold up every rollout. Ray's public state API needs its
    dashboard.
    """
    return [name for name in _living() if name.startswith(f"{REPLICA_PREFIX}{app}#")]


def lives(replica: str) -> bool:
    """Whether Ray's head counts a replica as alive.

    Raises:
        ConnectionError: It did not say: Ray makes an empty table of that, and at least Serve's
            controller is in one.
    """
    living = _living()
    if not living:
        raise ConnectionError("Ray's head does not answer")
    return replica in living


def beside_the_head() -> bool:
    """Whether this process runs on the head's own machine."""
    head = ray.get_runtime_context().gcs_address.rpartition(":")[0].strip("[]")
    return bool(head == ray.util.get_node_ip_address())


def _living() -> list[str]:
    return [actor["Name"] for actor in state.actors(actor_state_name="ALIVE").values()]


def is_stopping() -> bool:
    """Whether Serve is stopping this replica; it has no hook for that before the drain is over."""
    actors = ray._private.worker.global_worker.actors.values()
    replicas = (getattr(actor, "_replica_impl", None) for actor in actors)
    return any(getattr(replica, "_shutting_down", False) for replica in replicas)


def run(application: serve.Application, app: str) -> None:
    """Deploy without waiting: Serve's public `run` waits, and retries what cannot heal."""
    serve._run(application, name=app, route_prefix="/", _blocking=False)


def wait_for_proxies() -> None:
    """Wait until the proxies answer."""
    context._get_global_client().wait_for_proxies_serving()


def stay_on_loopback() -> None:
    """Have the node that this process starts listen on loopback only.

    `ray.init` puts the machine's own address in the place of 127.0.0.1, unless clusters are off.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes it starts
    ray_constants.ENABLE_RAY_CLUSTER = False


def end_log_monitor() -> None:
    """End the process that looks ten times a second for lines to print, of which we print none."""
    ray._private.worker.global_worker.node.kill_log_monitor(check_alive=False)


def keep_replica_on_its_node() -> None:
    """Have this replica's server for other deployments listen on its node's address only.

    Serve starts one on every interface, though nothing here uses it; it unpickles what it gets.
    """
    bind = tls_utils.add_port_to_grpc_server
    host = build_address(ray.util.get_node_ip_address(), 0)

    def on_this_node(server: object, _address: str) -> int:
        port: int = bind(server, host)
        return port

    serve_replica.add_port_to_grpc_server = on_this_node


def has_token() -> bool:
    """Whether this process would show the cluster a token, or asks for one."""
    loader = tokens.AuthenticationTokenLoader.instance()
    return bool(
        tokens.get_authentication_mode() == tokens.AuthenticationMode.TOKEN
        and loader.has_token(ignore_auth_mode=True)
    )


def put(key: str, data: bytes, namespace: str) -> None:
    """Keep bytes in Ray's own store, which outlives its actors."""
    internal_kv._internal_kv_put(key, data, namespace=namespace)


def get(key: str, namespace: str) -> bytes | None:
    """What `put` kept."""
    data: bytes | None = internal_kv._internal_kv_get(key, namespace=namespace)
    return data


def haproxy_binary() -> str:
    """Where the HAProxy lies that comes with Ray."""
    return str(get_haproxy_binary())


def logs_folder() -> str:
    """Where this node's logs are."""
    return str(ray._private.worker.global_worker.node.get_logs_dir_path())
