"""What an adapter's folder may hold, and the sha256 of each of its files.

Plain files with plain names, and beside them prompts in a folder of their own: nothing else is
ever read, copied or served.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from serving.config.prompts import Task
from serving.errors import AdapterRefused

MANIFEST = "MANIFEST.json"
PROMPTS = "prompts"
"""The folder inside an adapter's that holds the version's own prompts."""

_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PROMPT = rf"{PROMPTS}/(?:{'|'.join(get_args(Task))})\.jinja"
_FILE = re.compile(rf"{_PLAIN}|{_PROMPT}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def manifest(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file in `folder`, by its path there; the manifest is left out.

    Raises:
        AdapterRefused: The folder is missing, or holds anything but plain files and prompts.
    """
    if not folder.is_dir():
        raise AdapterRefused(f"{folder} is no folder")
    hashes = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or not _FILE.fullmatch(name):
            raise AdapterRefused(
                f"{name!r} in {folder} is not a plain file with a plain name, nor a prompt: "
                "an adapter's folder holds nothing else"
            )
        with path.open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST:
            continue
        if path.name == PROMPTS and path.is_dir() and not path.is_symlink():
            yield from sorted(path.iterdir())
        else:
            yield path


def manifest_hash(manifest: dict[str, str]) -> str:
    """Return the sha256 of a manifest, whatever its order and spacing."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_hash(text: str) -> bool:
    """Whether a text is a sha256 in hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def read(text: bytes, where: str) -> dict[str, str]:
    """Read a manifest's text.

    Args:
        text: What `written` gave.
        where: The folder, for errors.

    Raises:
        AdapterRefused: It lists anything but plain paths and their sha256.
    """
    try:
        listed = json.loads(text)
    except ValueError as exc:
        raise AdapterRefused(f"the manifest of {where} is no JSON: {exc}") from exc
    if not isinstance(listed, dict) or not all(
        _FILE.fullmatch(name) and isinstance(value, str) and is_hash(value)
        for name, value in listed.items()
    ):
        raise AdapterRefused(f"the manifest of {where} does not list plain file names and sha256")
    return listed


def written(hashes: dict[str, str]) -> str:
    """Return the text of a manifest."""
    return json.dumps(hashes, indent=2, sort_keys=True) + "\n"
