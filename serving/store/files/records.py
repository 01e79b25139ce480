"""The values of files and batches; times are seconds since the epoch by the database's clock."""

import json
import secrets
import time
from collections.abc import Iterable

from pydantic import Field

from serving.store.records import Json, Record

ACTIVE = ("validating", "in_progress", "finalizing", "cancelling")
"""Statuses of a batch that somebody must still work on; every other is final."""


def new_id(prefix: str) -> str:
    """Return a new id that sorts by its time, such as ``file-…``."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def scope_of(lobs: Iterable[str]) -> str:
    """Return the lines of a key as the text that is kept with what the key makes."""
    return json.dumps(sorted(set(lobs)))


def covers(lobs: Iterable[str], scope: str) -> bool:
    """Whether a key of these lines covers all lines of a scope; "*" covers every scope."""
    mine = set(lobs)
    return "*" in mine or set(json.loads(scope)) <= mine


class FileRecord(Record):
    """A file's metadata.

    Args:
        lines: How many lines were checked; blank ones are not counted.
        urls: The endpoints that a batch's lines ask.
    """

    id: str
    key_id: str
    scope: str
    purpose: str
    filename: str
    bytes: int = Field(ge=0)
    created_at: float = 0.0
    state: str = "uploading"
    lines: int = 0
    urls: list[str] = Field(default_factory=list)


class BatchRecord(Record):
    """A batch as it stood at `now`."""

    id: str
    key_id: str
    scope: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    completion_window: str
    status: str
    created_at: float
    expires_at: float
    times: Json
    total: int
    completed: int = 0
    failed: int = 0
    labels: Json
    errors: list[Json] = Field(default_factory=list)
    now: float

    @property
    def active(self) -> bool:
        """Whether somebody must still work on it."""
        return self.status in ACTIVE

    @property
    def expired(self) -> bool:
        """Whether its window has ended."""
        return self.expires_at <= self.now
