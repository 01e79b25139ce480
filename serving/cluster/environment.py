"""What Ray and Ray Serve read from the environment, and why we set it so."""

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from serving import ports, private_files
from serving.alerts.client_address import TOKEN_VARIABLE
from serving.cluster import haproxy, options
from serving.config.settings import Settings

LOOPBACK = "127.0.0.1"


def ray_folder() -> Path:
    """Where Ray keeps sockets, logs and spilled objects.

    Raises:
        ConfigError: Somebody else has made it.
    """
    # Not TMPDIR: a path of Ray's sockets may have 107 bytes.
    root = Path(os.environ.get("RAY_TMPDIR", "/tmp"))  # noqa: S108
    # Ray opens the folder that it is given to everybody: the one around it is closed.
    return private_files.private_folder(root / f"switchboard-{os.getuid()}") / "ray"


def prepare(
    settings: Settings, *, local: bool, haproxy_binary: Callable[[], str]
) -> dict[str, str]:
    """Set what is not set yet, before Ray starts.

    Args:
        settings: The configuration.
        local: Whether this process starts the cluster, instead of joining one of more machines.
        haproxy_binary: Finds the HAProxy that Ray would start; asked where it is to be used.

    Returns:
        Every variable with the value in force.
    """
    run_dir = Path(tempfile.mkdtemp(prefix="switchboard-"))
    defaults = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if settings.http.proxy == "haproxy" else "0",
        # One event loop for Serve, vLLM and us: a hand-over between threads per chunk is dear.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # HAProxy forgets a replica within a second; Serve would keep it for thirty.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
        # Ray runs workers at nice 15: the engine would yield to anything else on its machine.
        "RAY_worker_niceness": "0",
        # Ten rounds a second of the controller, and a log line of HAProxy's to a Python process
        # for each request, are dear on a small machine. Our own metrics have what the latter tell.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        # One thread of HAProxy's passes on more than four cores of engine can say.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, min(4, (os.cpu_count() or 1) // 4))),
        # Ray's agent reads all processes' statistics for a dashboard that is off.
        "REPORTER_UPDATE_INTERVAL_MS": "60000",
        # What a killed worker leaves behind, Ray ends.
        "RAY_process_group_cleanup_enabled": "true",
        # A dead HAProxy, or its actor, is noticed after three checks: Ray waits 10 s between two.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # Three waits of 5 s, and Serve kills a proxy that a busy machine has not started yet.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        # Several servers on one machine must not share a proxy's files and ports.
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run_dir / "metrics.sock"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.free()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.free()),
        # Ports of the replicas: another server's proxy must not find ours on one it remembers.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(block := ports.block()),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(block + ports.BLOCK),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.free()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.free()),
        # A proxy worker that a reload replaced keeps its streams as long as any may last.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(options.haproxy_hard_stop_s(settings)),
    }
    if local:
        # What the engine's processes say to each other stays on this machine.
        defaults |= {"VLLM_HOST_IP": LOOPBACK, "GLOO_SOCKET_IFNAME": "lo"}
        defaults["NCCL_SOCKET_IFNAME"] = "lo"
    if settings.http.proxy == "haproxy" and settings.http.affinity:
        balance = haproxy.balance(settings.http.affinity_load_percent, wrapped=local)
        defaults["RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"] = balance
    if settings.http.proxy == "haproxy" and local:  # the wrapper lies on this machine only
        listen = f"{settings.http.host}:{settings.http.port}"
        token = os.environ.get(TOKEN_VARIABLE) or secrets.token_hex(16)
        defaults[TOKEN_VARIABLE] = token
        program = haproxy.wrapper(
            run_dir, haproxy_binary(), listen=listen, tls=settings.http.tls, token=token
        )
        defaults["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(program)
        defaults["RAY_SERVE_HAPROXY_RETRY_ON"] = haproxy.RETRY_ON
        defaults["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"] = str(haproxy.BUFFER_BYTES)
    return {name: os.environ.setdefault(name, value) for name, value in defaults.items()}
