"""Versions that another model answers: one behind a configured upstream, named in the folder.

The engine holds one base, so another base model is one that answers elsewhere, at
``upstreams.NAME`` of the configuration. Such a version's folder holds ``upstream.json``, prompts of
its own where it has some, and no weights: the engine never hears of it, and it takes none of its
slots.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from serving.adapters.validation import WEIGHTS, read_json
from serving.errors import AdapterRefused

FILE = "upstream.json"

_KEYS = {"upstream", "model"}


class Other(NamedTuple):
    """Who answers for a version: the upstream's name, and the model that it was configured for."""

    name: str
    model: str

    @classmethod
    def of(cls, described: Mapping[str, str] | None) -> Self | None:
        """Read what `described` gave."""
        return None if described is None else cls(described["name"], described["model"])

    @property
    def described(self) -> dict[str, str]:
        """What the registry keeps of it."""
        return self._asdict()


def write(folder: Path, other: Other) -> None:
    """Write into a version's folder who answers for it."""
    text = json.dumps({"upstream": other.name, "model": other.model}, indent=2, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def of_folder(folder: Path) -> Other | None:
    """Read who answers for a version; None is the engine, with the folder's weights.

    Raises:
        AdapterRefused: The file does not say it, or there are weights beside it.
    """
    if not (folder / FILE).exists():
        return None
    said = read_json(folder, FILE)
    if said.keys() != _KEYS or not all(isinstance(v, str) and v for v in said.values()):
        raise AdapterRefused(f'{FILE} must hold {{"upstream": NAME, "model": MODEL}}, and no more')
    if (folder / WEIGHTS).exists():
        raise AdapterRefused(f"{FILE} and {WEIGHTS}: an upstream answers, or the engine does")
    return Other(said["upstream"], said["model"])


def check(other: Other, configured: Mapping[str, str]) -> None:
    """Check that the upstream is the one that the version was made for.

    Args:
        other: Who is to answer.
        configured: The model of each configured upstream.

    Raises:
        AdapterRefused: It is not configured, or for another model; names the key.
    """
    if other.name not in configured:
        raise AdapterRefused(
            f"`upstreams.{other.name}` answers for this version, and this server's configuration "
            "has no such upstream"
        )
    if (now := configured[other.name]) != other.model:
        raise AdapterRefused(
            f"`upstreams.{other.name}.model` is {now!r}; this version was made for "
            f"{other.model!r}: add the other model as a version of its own"
        )
