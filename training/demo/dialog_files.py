"""Conversations as training reads them: one frozen shape, whatever file they came from.

The demo replays conversations that are generated, a user's own (our JSONL, one conversation a
line) or ABCD's (one JSON array, Chen et al. 2021). Everything after this module sees only
`Dialog`, and a bad row is reported with its file and line before any work begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import DialogError

Role = Literal["customer", "agent"]

SALES_FLOWS = frozenset(
    {"single_item_query", "storewide_query", "subscription_inquiry", "pricing", "purchase"}
)
"""ABCD flows in which the customer considers buying; every other flow is care's."""


_ABCD_START = re.compile(r'\s*(\[|\{\s*"(train|dev|test)"\s*:\s*\[)')


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    text: str = Field(min_length=1)


class Dialog(BaseModel):
    """One whole conversation.

    `facts` holds what was really said (the demo's editing rules work from it) and is empty where
    nobody wrote it down; `final_summary` is the agents' own summary, if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation_id: str = Field(min_length=1)
    lob: str = Field(min_length=1)
    turns: tuple[Turn, ...] = Field(min_length=1)
    facts: dict[str, str] = Field(default_factory=dict)
    final_summary: str | None = None


def lob_of_flow(flow: str) -> str:
    """Name the line of business for an ABCD flow.

    Args:
        flow: ABCD's `scenario.flow`, such as `product_defect`.

    Returns:
        `sales` for the flows in `SALES_FLOWS`, otherwise `care`.
    """
    return "sales" if flow in SALES_FLOWS else "care"


def read_dialogs(path: Path, lob_of: Callable[[str], str] = lob_of_flow) -> list[Dialog]:
    """Read conversations from our JSONL or from ABCD's JSON.

    The content decides, not the name: an array, or ABCD's full release with its `train`, `dev`
    and `test` arrays, is ABCD's. Its `action` turns are not messages and are left out.

    Args:
        path: the file, in UTF-8.
        lob_of: maps an ABCD flow to a line of business; JSONL rows name their own.

    Returns:
        The conversations in the file's order, at least one.

    Raises:
        DialogError: the file is missing, empty, not UTF-8, a row is not a dialog, or two
            conversations share an id.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise DialogError(f"{path}: cannot be read as UTF-8 text: {exc}") from exc
    rows = _abcd(path, text, lob_of) if _ABCD_START.match(text) else _jsonl(path, text)
    if not rows:
        raise DialogError(f"{path}: holds no conversations; give one JSON object a line")
    seen: dict[str, str] = {}
    for where, dialog in rows:
        if dialog.conversation_id in seen:
            raise DialogError(
                f"{where}: conversation_id {dialog.conversation_id!r} was used at "
                f"{seen[dialog.conversation_id]}; each conversation needs its own"
            )
        seen[dialog.conversation_id] = where
    return [dialog for _, dialog in rows]


def write_dialogs(path: Path, dialogs: list[Dialog]) -> None:
    """Write conversations as JSONL, one a line, as `read_dialogs` reads them.

    Args:
        path: the file to write (replaced).
        dialogs: the conversations.
    """
    path.write_text("".join(d.model_dump_json() + "\n" for d in dialogs), encoding="utf-8")


def _jsonl(path: Path, text: str) -> list[tuple[str, Dialog]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            rows.append((where, Dialog.model_validate_json(line)))
        except ValidationError as exc:
            raise DialogError(f"{where}: not a dialog: {_reasons(exc)}") from exc
    return rows


def _abcd(path: Path, text: str, lob_of: Callable[[str], str]) -> list[tuple[str, Dialog]]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as exc:
        raise DialogError(f"{path}:{exc.lineno}: not JSON: {exc.msg}") from exc
    except RecursionError as exc:
        raise DialogError(f"{path}: nested too deeply to be read") from exc
    rows = []
    for split, part in items.items() if isinstance(items, dict) else [("", items)]:
        for number, item in enumerate(part):
            where = f"{path}: {split} item {number}".replace("  ", " ")
            rows.append((where, _abcd_dialog(where, item, lob_of)))
    return rows


def _abcd_dialog(where: str, item: Any, lob_of: Callable[[str], str]) -> Dialog:
    try:
        flow = item["scenario"]["flow"]
        turns = [
            {"role": speaker, "text": said.strip()}
            for speaker, said in item["original"]
            if speaker != "action" and said.strip()
        ]
        return Dialog.model_validate(
            {"conversation_id": f"abcd-{item['convo_id']}", "lob": lob_of(flow), "turns": turns}
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        reason = _reasons(exc) if isinstance(exc, ValidationError) else repr(exc)
        raise DialogError(
            f"{where}: not an ABCD conversation (convo_id, scenario.flow, original): {reason}"
        ) from exc


def _reasons(exc: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in exc.errors())
