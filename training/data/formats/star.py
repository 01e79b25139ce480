"""STAR's dialogs as they happened: what each side said, looked up, drafted and picked, and when.

STAR (Mosig, Mehri and Kober, "STAR: A Schema-Guided Dialog Dataset for Transfer Learning",
arXiv:2010.11853) has people on both sides. An agent types a draft, is shown suggestions, and picks
one or sends words of their own: the work that `POST /v1/suggestions` and `POST /v1/events` serve.
The file is JSON Lines, plain or gzip, one dialog a line, and is read line by line.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.config.prompts import Turn
from training.errors import DatasetError

LINE_LIMIT_BYTES = 4 << 20
"""Of one dialog; a compressed file must not fill the memory with one line."""

_GZIP = b"\x1f\x8b"
_NOT_SAID = frozenset({"APIName", "id"})  # names of the tool and of the row, no knowledge
_NOTHING = "nothing was found"

Text = Annotated[str, Field(min_length=1)]
Time = Annotated[float, Field(gt=0, lt=1e11, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Said(_Strict):
    do: Literal["say", "draft"]
    who: Literal["customer", "agent"]
    t: Time
    text: Text
    label: str | None = None


class _Pick(_Strict):
    do: Literal["pick"]
    who: Literal["agent"]
    t: Time
    text: Text
    label: str
    options: list[str]


class _Query(_Strict):
    do: Literal["query"]
    who: Literal["agent"]
    t: Time
    api: str
    constraints: list[Any]


class _Item(_Strict):
    do: Literal["item"]
    who: Literal["knowledge"]
    t: None = None
    api: str
    item: dict[str, Any] | None = None
    total: int


class _Mark(_Strict):
    do: Literal["task", "complete"]
    who: Literal["customer", "agent"]
    t: Time
    task: str | None = None


_Event = Annotated[_Said | _Pick | _Query | _Item | _Mark, Field(discriminator="do")]


class _Row(_Strict):
    id: int
    domains: list[Text]
    agent: Text
    complete: bool
    happy: bool
    tasks: list[str]
    events: list[_Event]
    customer_survey: dict[str, Any] | None = None
    agent_survey: dict[str, Any] | None = None


@dataclass(frozen=True)
class Draft:
    """What an agent typed to ask for suggestions, and when (seconds since the epoch, UTC)."""

    at: float
    text: str


@dataclass(frozen=True)
class Reply:
    """A message that the agent sent.

    Args:
        turn: Its index in the dialog's turns: those before it are what the agent saw.
        at: When it was sent, seconds since the epoch, UTC.
        text: As it was sent.
        picked: The agent took a suggestion; False: wrote it.
        asked_at: When the customer's last message before it came; None where there is none.
        drafts: What the agent typed for this reply before it, oldest first.
    """

    turn: int
    at: float
    text: str
    picked: bool
    asked_at: float | None
    drafts: tuple[Draft, ...]

    @property
    def seconds(self) -> float | None:
        """Seconds from the customer's last message to this reply."""
        return None if self.asked_at is None else self.at - self.asked_at


@dataclass(frozen=True)
class StarDialog:
    """One dialog.

    Args:
        id: Its id in STAR.
        domains: What it is about: the lines of business.
        agent: A pseudonym.
        turns: All messages, and what look-ups gave as turns of `knowledge`, in order.
        replies: The agent's messages among them.
    """

    id: int
    domains: frozenset[str]
    agent: str
    turns: tuple[Turn, ...]
    replies: tuple[Reply, ...]

    @property
    def conversation_id(self) -> str:
        """The dialog's name in our store and datasets."""
        return f"star-{self.id}"

    @property
    def began_at(self) -> float:
        """When its first reply was sent; of a dialog without replies 0."""
        return self.replies[0].at if self.replies else 0.0

    def about(self, domains: frozenset[str]) -> bool:
        """Say whether the dialog is about these domains and nothing else."""
        return bool(self.domains) and self.domains <= domains


def read(file: Path) -> Iterator[StarDialog]:
    """Yield a file's dialogs in its order, holding one line at a time.

    Args:
        file: JSON Lines in UTF-8, plain or gzip; its first bytes decide, not its name.

    Raises:
        DatasetError: The file cannot be read, holds no dialog, or a line is no dialog of STAR's;
            the line is named with what is wrong with it.
    """
    ids: dict[int, int] = {}
    for number, line in _lines(file):
        try:
            row = _Row.model_validate(json.loads(line))
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "row"
            raise DatasetError(f"{file}:{number}: {where}: {first['msg']}") from exc
        except (ValueError, RecursionError) as exc:
            raise DatasetError(f"{file}:{number}: is not JSON: {exc}") from exc
        if row.id in ids:
            raise DatasetError(f"{file}:{number}: id: {row.id} is line {ids[row.id]}'s already")
        ids[row.id] = number
        yield _dialog(row)
    if not ids:
        raise DatasetError(f"{file}: holds no dialogs")


def digest(file: Path) -> str:
    """Return the sha256 of a file's bytes as they are stored.

    Raises:
        DatasetError: The file cannot be read.
    """
    try:
        with file.open("rb") as stored:
            return hashlib.file_digest(stored, "sha256").hexdigest()
    except OSError as exc:
        raise DatasetError(f"{file}: cannot be read: {exc}") from exc


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with file.open("rb") as stored:
            packed = stored.read(len(_GZIP)) == _GZIP
            stored.seek(0)
            # GzipFile reads like any binary file; its class says so only to people.
            plain = cast(IO[bytes], gzip.GzipFile(fileobj=stored)) if packed else stored
            while line := plain.readline(LINE_LIMIT_BYTES + 1):
                number += 1
                if len(line) > LINE_LIMIT_BYTES:
                    raise DatasetError(
                        f"{file}:{number}: is longer than {LINE_LIMIT_BYTES >> 20} MiB"
                    )
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as exc:  # a bad or cut gzip file, too
        raise DatasetError(f"{file}:{number + 1}: cannot be read: {exc}") from exc


def _dialog(row: _Row) -> StarDialog:
    turns: list[Turn] = []
    replies: list[Reply] = []
    drafts: list[Draft] = []
    asked_at: float | None = None
    for event in row.events:
        match event:
            case _Said(do="draft"):
                drafts.append(Draft(event.t, event.text))
            case _Said(who="customer"):
                turns.append(Turn("customer", event.text))
                asked_at = event.t
            case _Said() | _Pick():
                picked = isinstance(event, _Pick)
                reply = Reply(len(turns), event.t, event.text, picked, asked_at, tuple(drafts))
                replies.append(reply)
                turns.append(Turn("agent", event.text))
                drafts = []
            case _Item():
                turns.append(Turn("knowledge", _told(event.item)))
    return StarDialog(row.id, frozenset(row.domains), row.agent, tuple(turns), tuple(replies))


def _told(item: dict[str, Any] | None) -> str:
    """Return what a look-up gave as one line of keys and values."""
    said = {key: value for key, value in (item or {}).items() if key not in _NOT_SAID}
    texts = (
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in said.items()
    )
    return "; ".join(texts) or _NOTHING
