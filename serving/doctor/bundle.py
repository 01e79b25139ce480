"""A file for a bug report: findings, configuration and logs, without secrets and texts."""

import io
import json
import tarfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from serving.config import revision
from serving.config.settings import Settings
from serving.doctor import machine
from serving.doctor.finding import Finding
from serving.errors import Conflict


def write(target: Path, findings: Sequence[Finding], settings: Settings | None, logs: Path) -> None:
    """Write a ``.tar.gz``; what is a secret in the configuration is its name there, or masked.

    Args:
        target: The file; it must not be there.
        findings: What was found.
        settings: The configuration, None where it cannot be read.
        logs: The folder of the replicas' logs, of which the last lines go in.

    Raises:
        Conflict: The file is there.
    """
    packages = sorted(f"{one.name}=={one.version}" for one in distributions())
    parts: dict[str, str] = {
        "findings.json": as_json(findings),
        "packages.txt": "\n".join(packages) + "\n",
    }
    if settings is not None:
        parts["configuration.json"] = json.dumps(revision.shown(settings), indent=1)
    for path in sorted(logs.glob("worker-*.err")) if logs.is_dir() else []:
        parts[f"logs/{path.name}"] = "\n".join(machine.tail(path)) + "\n"
    try:
        with tarfile.open(target, "x:gz") as archive:
            for name, text in parts.items():
                content = text.encode()
                entry = tarfile.TarInfo(f"switchboard-doctor/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(content))
    except FileExistsError as exc:
        raise Conflict(f"{target} is there: name a new file.") from exc


def as_json(findings: Sequence[Finding]) -> str:
    """Return findings as JSON: ``{"findings": [{"about", "state", "said", "facts"}]}``."""
    listed: list[dict[str, Any]] = [asdict(one) for one in findings]
    return json.dumps({"findings": listed}, indent=1, default=str) + "\n"
