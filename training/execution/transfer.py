"""Files and folders as values, to go where no disk is shared."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from training.trainers.job import Job

Shipment = dict[str, bytes]
"""Content by path relative to what was packed; a file alone has the path ``""``."""
STAYS = ("base_model", "out")  # every machine has the base; the job's folder is made there


def pack(path: Path) -> Shipment:
    """Read a file, or a folder and all in it."""
    if path.is_file():
        return {"": path.read_bytes()}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def unpack(shipment: Shipment, path: Path) -> Path:
    """Write what `pack` read; return its place.

    Raises:
        ValueError: A file's place would lie outside.
    """
    for name, content in shipment.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{name!r} lies outside of the folder")
        file = path / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o644)
    return path


def inputs(job: Job) -> dict[str, Shipment]:
    """Pack what a job reads: whatever it names by an absolute path that exists here."""
    return {
        name: pack(Path(value))
        for name, value in asdict(job).items()
        if name not in STAYS
        and isinstance(value, str)
        and Path(value).is_absolute()
        and Path(value).exists()
    }


def name(job: Mapping[str, Any], shipped: Mapping[str, Shipment]) -> str:
    """Return a job's name by what goes in, so that one that is repeated finds its checkpoints."""
    plain = {key: value for key, value in job.items() if key not in shipped and key != "out"}
    digest = hashlib.sha256(repr(sorted(plain.items())).encode())
    for key, files in sorted(shipped.items()):
        for path, content in sorted(files.items()):
            digest.update(f"\0{key}\0{path}\0{hashlib.sha256(content).hexdigest()}".encode())
    return f"{job['lob']}-{digest.hexdigest()[:16]}"
