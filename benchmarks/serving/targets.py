"""The servers that are compared, each started as its users start it, with one engine's settings."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ratios import OFF
from target import ROOT, Target

LITELLM = ROOT / ".cache" / "bench" / "litellm" / "bin" / "litellm"
KERNELS_OFF = {"SWITCHBOARD_KERNELS": "off"}


class Missing(Exception):
    """A server cannot be started here; the message says what it needs."""


@dataclass(frozen=True)
class Setting:
    """What all servers have in common.

    Attributes:
        config: Switchboard's configuration, from which the others' arguments are derived.
        flags: The same engine settings, as arguments of `vllm serve`.
        adapters: Name and folder of each adapter; Switchboard's lines of business have the names.
        folder: For files of this run.
    """

    config: dict[str, Any]
    flags: list[str]
    adapters: dict[str, Path]
    folder: Path


def with_adapters(config: dict[str, Any], model: Path, names: Sequence[str]) -> dict[str, Any]:
    """The benchmark's configuration: absolute paths, longer prompts, a line for each adapter.

    Args:
        config: A configuration file's content.
        model: Folder of the base model.
        names: A line of business is added for each.
    """
    lobs = {name: {"description": "A line with an adapter of its own."} for name in names}
    return config | {
        "model": str(model),
        "prompts": str(ROOT / config["prompts"]),
        "engine": config["engine"] | {"max_model_len": 2048},  # room for 1500 in and 128 out
        "lobs": config["lobs"] | lobs,
        "adapters": config["adapters"] | {"max_active": max(8, config["adapters"]["max_active"])},
        # A server that was stopped for the others' turns is not a lost one.
        "rollouts": {"lost_after_s": 3600},
    }


def vllm(setting: Setting, port: int, name: str = "vllm") -> Target:
    """Bare `vllm serve`, without a proxy or a key."""
    module = "vllm.entrypoints.openai.api_server"
    loras = [f"{adapter}={path}" for adapter, path in setting.adapters.items()]
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port)]
    off = KERNELS_OFF if name.endswith(OFF) else {}
    return Target(
        name,
        [[*command, *setting.flags, "--lora-modules", *loras]],
        f"http://127.0.0.1:{port}",
        setting.config["served_name"],
        list(setting.adapters),
        environment=setting.config["env"] | off,
    )


def switchboard(
    setting: Setting, port: int, name: str = "switchboard", role: str = "service"
) -> Target:
    """Switchboard with everything on: keys, routing by line of business, capture, metrics."""
    folder = setting.folder / name
    folder.mkdir()
    config = setting.config
    content = config | {
        "env": config["env"] | (KERNELS_OFF if name.endswith(OFF) else {}),
        "http": {"host": "127.0.0.1", "port": port, "proxy": "haproxy"},
        "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
        "journal": {"dir": str(folder / "journal")},
        "files": {"uri": str(folder / "files")},
        "adapters": config["adapters"]
        | {"uri": str(folder / "adapters"), "cache_dir": str(folder / "adapter-cache")},
    }
    if name.startswith("switchboard_python"):
        content["http"]["proxy"] = "python"
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    target = Target(
        name,
        [[sys.executable, "-P", "-m", "serving.cli", "serve", str(file)]],
        f"http://127.0.0.1:{port}",
        next(iter(config["lobs"])),
        list(setting.adapters),
        key=create_key(file, role),
        environment=fallback_ports(),
    )
    publish(file, [(lob, path) for lob, path in setting.adapters.items()], live=True)
    return target


def fallback_ports() -> dict[str, str]:
    """Ports for Ray Serve's fallback proxy; by default all of a machine share one (SO_REUSEPORT),
    and a request could end at a server that is stopped."""
    from serving import ports

    return {
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.free()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.free()),
    }


def create_key(file: Path, role: str) -> str:
    """Create an API key of a configuration, as its operator does."""
    command = [sys.executable, "-m", "serving.cli", "keys", "create", "--config", str(file)]
    done = subprocess.run(
        [*command, "--name", role, "--role", role, "--all"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def publish(file: Path, adapters: Sequence[tuple[str, Path]], *, live: bool) -> list[str]:
    """Register adapters in a configuration's registry, before or while its server runs.

    Args:
        file: The configuration.
        adapters: Line of business and PEFT folder of each.
        live: Whether each becomes its line's live version; only before the server starts, since
            nothing tells a running one.

    Returns:
        The versions' names, such as ``care@7``.
    """
    from serving.adapters import artifacts, validation
    from serving.adapters.registry import Registry
    from serving.config import settings
    from serving.store.database import Database

    config = settings.load(file)
    base_hash = artifacts.model_hash(Path(config.model))

    async def register() -> list[str]:
        db = Database(config.store_address)
        await db.open()
        names = []
        try:
            registry = Registry(db, config.adapters.uri)
            for lob, folder in adapters:
                validation.stamp(folder, base_model=config.served_name, base_hash=base_hash)
                version = await registry.register(
                    lob,
                    await registry.reserve(lob),
                    folder,
                    parent=None,
                    base_model=config.served_name,
                    base_hash=base_hash,
                    dataset_id=None,
                    recipe={},
                    metrics={},
                    rank=json.loads((folder / "adapter_config.json").read_text())["r"],
                )
                if live:
                    await registry.switch(lob, live=version.name, action="promote")
                names.append(version.name)
        finally:
            await db.close()
        return names

    return asyncio.run(register())


def ray_llm(setting: Setting, port: int, name: str = "ray_llm_haproxy") -> Target:
    """ray.serve.llm; by its name with HAProxy, and with its experimental direct streaming."""
    from serving import ports

    try:
        import ray.serve.llm  # noqa: F401  its own imports say what it lacks
    except ImportError as exc:
        raise Missing(f"ray.serve.llm cannot be imported: {exc}") from exc
    # A short name: Ray adds its node's id, and HAProxy's socket takes 97 characters.
    folder = setting.folder / str(port)
    folder.mkdir()
    config = setting.config
    options = {
        "model": config["model"],
        "name": config["served_name"],
        "engine": engine_arguments(config),
        "environment": config["env"],
        "port": port,
    }
    return Target(
        name,
        [[sys.executable, str(Path(__file__).parent / "ray_llm.py"), json.dumps(options)]],
        f"http://127.0.0.1:{port}",
        config["served_name"],
        environment=fallback_ports()
        | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_ENABLE_HA_PROXY": "0" if name == "ray_llm" else "1",
            "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1" if name == "ray_llm_direct" else "0",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.free()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.free()),
        },
    )


def engine_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The engine settings of `flags`, as keyword arguments."""
    adapters = config["adapters"]
    return config["engine"] | {
        "enable_lora": True,
        "max_loras": adapters["max_active"],
        "max_cpu_loras": max(adapters.get("max_cached", 32), adapters["max_active"]),
        "max_lora_rank": adapters["max_rank"],
    }


def litellm(setting: Setting, port: int, name: str = "litellm") -> Target:
    """LiteLLM's proxy with a key, in front of a bare `vllm serve` of its own."""
    from serving import ports

    if not LITELLM.exists():
        raise Missing(f"{LITELLM.relative_to(ROOT)} is missing: make bench-setup")
    folder = setting.folder / name
    folder.mkdir()
    behind = vllm(setting, ports.free())
    file = folder / "config.yaml"
    key = "sk-benchmark"
    file.write_text(
        yaml.safe_dump(litellm_config([behind.model, *behind.adapters], behind.url, key))
    )
    proxy = [str(LITELLM), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    return Target(
        name,
        [*behind.commands, [*proxy, "--num_workers", "1"]],
        f"http://127.0.0.1:{port}",
        behind.model,
        behind.adapters,
        key=key,
        environment=behind.environment
        | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"},
    )


def litellm_config(models: Sequence[str], url: str, key: str) -> dict[str, Any]:
    """LiteLLM's configuration: each model of one vLLM server under its own name."""
    parameters = {"api_base": f"{url}/v1", "api_key": "none"}
    return {
        "model_list": [
            {"model_name": model, "litellm_params": parameters | {"model": f"hosted_vllm/{model}"}}
            for model in models
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }


def litellm_version() -> str:
    """The version of LiteLLM that `make bench-setup` installs."""
    pins = (Path(__file__).parent / "requirements.txt").read_text().splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith("litellm=="))


def left_out(name: str, adapters: bool) -> str:
    """Why a server takes no part in workloads with (or without) adapters; empty if it does."""
    if adapters and name.startswith("ray_llm"):
        return "ray.serve.llm loads adapters from cloud storage only (s3://, gs://, …)"
    if not adapters and name.endswith(OFF):
        return "without adapters our kernels do nothing"
    return ""


Maker = Callable[[Setting, int, str], Target]
MAKERS: dict[str, Maker] = {
    "vllm": vllm,
    "ray_llm_haproxy": ray_llm,
    "ray_llm": ray_llm,
    "ray_llm_direct": ray_llm,
    "switchboard": switchboard,
    "switchboard_python": switchboard,
    "litellm": litellm,
    f"vllm{OFF}": vllm,
    f"switchboard{OFF}": switchboard,
}
DEFAULT = [name for name in MAKERS if name not in {"ray_llm_direct", "switchboard_python"}]
