"""What a backup holds, and whether it still does.

``MANIFEST.json`` comes last in a backup and names the sha256 of every other file, so that a folder
without one is no backup, and one whose bytes changed is refused whole.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ConfigError

FORMAT: Literal[1] = 1
FILE = "MANIFEST.json"
ADAPTERS, FILES, JOURNALS = "adapters", "files", "journals"
_REVISION = r"\d{4}"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Version(BaseModel):
    """An adapter version: its files lie under ``adapters/LOB/NUMBER``."""

    model_config = ConfigDict(extra="forbid")

    lob: str
    number: int
    manifest_hash: str

    @property
    def path(self) -> str:
        """Where its files lie in the backup."""
        return f"{ADAPTERS}/{self.lob}/{self.number}"


class Manifest(BaseModel):
    """What a backup holds.

    `sha256` is of each file by its path in the folder; `missing` says what could not be copied, and
    why.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = FORMAT
    release: str
    revision: str = Field(pattern=_REVISION)
    store: Literal["sqlite", "postgresql"]
    began_at: str
    ended_at: str
    versions: list[Version]
    files: list[str]
    missing: list[str] = []
    sha256: dict[str, str]


def read(folder: Path) -> Manifest:
    """Read a backup's manifest and compare every file with it.

    Raises:
        ConfigError: It is no backup, or is of a newer form, or a file was changed, is missing or
            is one too many.
    """
    try:
        text = (folder / FILE).read_bytes()
    except OSError as exc:
        raise ConfigError(f"{folder} is no whole backup: {FILE}: {exc.strerror}.") from exc
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as exc:
        fault = exc.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ConfigError(
            f"{folder / FILE} is not of form {FORMAT} of a backup: {where}: {fault['msg']}."
        ) from exc
    found = hashes(folder)
    for name in sorted(found.keys() | manifest.sha256.keys()):
        if name not in found:
            raise ConfigError(f"{folder} is not whole: {name} is missing.")
        if name not in manifest.sha256:
            raise ConfigError(f"{folder} holds {name}, which its manifest does not name.")
        if found[name] != manifest.sha256[name]:
            raise ConfigError(f"{folder / name} was changed: its sha256 is another.")
    return manifest


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file below `folder` by its path there, without the manifest.

    Raises:
        ConfigError: It holds links or names that no backup has.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not all(_PART.fullmatch(part) for part in name.split("/")):
            raise ConfigError(f"{path} is nothing that a backup holds.")
        if path.is_file() and name != FILE:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
