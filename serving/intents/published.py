"""Classifiers where replicas find them: beside the line's adapters, named by their content.

`<adapters.uri>/<line>/intents/<sha256>.safetensors` is written first, then `live.json`, which says
which of them is live and what its evaluation said. Everything here blocks, so it runs in threads.
"""

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import Any, Literal

from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.adapters.artifacts import filesystem_of
from serving.errors import ConfigError, NotFound, SwitchboardError, Unavailable
from serving.intents.classifier import Classifier
from serving.names import valid_lob

_LIVE = "live.json"
Preferred = Literal["engine", "classical"]


class Published(BaseModel):
    """A line's live classifier.

    Args:
        sha256: Of its file, which it names.
        intents: The line's list when it was trained.
        prefers: Whose intents its evaluation found better.
        report: What the evaluation found.
        created_at: Seconds since the epoch, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    intents: tuple[str, ...]
    prefers: Preferred
    report: dict[str, Any] = Field(default_factory=dict)
    created_at: float = Field(default_factory=time.time)

    @property
    def name(self) -> str:
        """What it is called in answers and in the store."""
        return self.sha256[:16]


def publish(
    root_uri: str,
    lob: str,
    made: Classifier,
    *,
    intents: tuple[str, ...],
    prefers: Preferred,
    report: dict[str, Any],
) -> Published:
    """Make a classifier the line's live one.

    Args:
        root_uri: The adapters' folder or fsspec URL.
        lob: The line.
        made: The classifier.
        intents: The line's list.
        prefers: Whose intents its evaluation found better.
        report: What the evaluation found.

    Raises:
        Unavailable: It cannot be written.
    """
    data = made.to_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    live = Published(sha256=sha256, intents=intents, prefers=prefers, report=report)
    _write(root_uri, lob, f"{sha256}.safetensors", data)
    _write(root_uri, lob, _LIVE, live.model_dump_json(indent=1).encode())
    return live


def live(root_uri: str, lob: str) -> Published | None:
    """Return which classifier is a line's live one; None: it has none.

    Raises:
        ConfigError: What says so cannot be understood.
        Unavailable: It cannot be read.
    """
    try:
        return Published.model_validate_json(_read(root_uri, lob, _LIVE))
    except NotFound:
        return None
    except ValidationError as exc:
        raise ConfigError(f"{_LIVE} of the intents of {lob} cannot be understood: {exc}") from exc


def read(root_uri: str, lob: str, its: Published) -> Classifier:
    """Return a published classifier, each of whose bytes is what was published.

    Raises:
        ConfigError: It is another file.
        NotFound: It is gone.
        Unavailable: It cannot be read.
    """
    data = _read(root_uri, lob, f"{its.sha256}.safetensors")
    if hashlib.sha256(data).hexdigest() != its.sha256:
        raise ConfigError(f"the classifier {its.name} of {lob} is not the one that was published")
    return Classifier.from_bytes(data)


def _folder(root_uri: str, lob: str) -> tuple[Any, str]:
    if not valid_lob(lob):
        raise ConfigError(f"{lob!r} is no name for a line of business")
    filesystem, root = filesystem_of(root_uri)
    return filesystem, f"{root.rstrip('/')}/{lob}/intents"


def _read(root_uri: str, lob: str, name: str) -> bytes:
    filesystem, folder = _folder(root_uri, lob)
    try:
        data: bytes = filesystem.cat_file(f"{folder}/{name}")
    except FileNotFoundError as exc:
        raise NotFound(f"{lob} has no {name} of its intents") from exc
    except Exception as exc:  # each fsspec backend has errors of its own
        raise _unavailable(lob, exc) from exc
    return data


def _write(root_uri: str, lob: str, name: str, data: bytes) -> None:
    filesystem, folder = _folder(root_uri, lob)
    try:
        filesystem.makedirs(folder, exist_ok=True)
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.pipe_file(f"{folder}/{name}", data)
            return
        part = Path(folder) / f".{uuid.uuid4().hex}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(Path(folder) / name)
    except Exception as exc:
        raise _unavailable(lob, exc) from exc


def _unavailable(lob: str, exc: Exception) -> SwitchboardError:
    return Unavailable(
        "The adapters' storage does not answer. Try again.", reason=f"intents of {lob}: {exc}"
    )
