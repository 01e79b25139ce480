"""Prompts that an adapter version brings along, in the folder ``prompts`` of its own.

A version that has one for a task is asked by it; for any other task by the line's configured one.
So a prompt is evaluated, shadowed, canaried, promoted and rolled back as weights are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from serving.adapters.manifests import PROMPTS
from serving.config import prompts
from serving.config.prompts import Prompt, Task
from serving.errors import AdapterRefused, ConfigError

LIMIT_BYTES = 256 << 10
"""A prompt's file has no more: it is held in memory and rendered for every request."""

_ENDING = ".jinja"
_TASKS: tuple[Task, ...] = get_args(Task)


def of_folder(folder: Path, owner: str = "") -> dict[Task, Prompt]:
    """Read and parse the prompts in an adapter's folder.

    Args:
        folder: The adapter's; without a folder ``prompts`` it has none.
        owner: The version's name, such as ``care@9``; any before it has one.

    Returns:
        The prompt of each task that it has one for, called ``<owner>/<task>``.

    Raises:
        AdapterRefused: A file is no prompt of a task that there is; names the file.
    """
    inside = folder / PROMPTS
    try:
        texts = {task_of(path): _text(path) for path in sorted(inside.iterdir())}
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise AdapterRefused(f"{PROMPTS} cannot be read: {exc}") from exc
    return parse(texts, owner)


def parse(texts: Mapping[Task, str], owner: str = "") -> dict[Task, Prompt]:
    """Parse a version's own prompts, as the configured ones are parsed.

    Args:
        texts: The text of each task's.
        owner: The version's name; any before it has one.

    Raises:
        AdapterRefused: One does not parse, or cannot be rendered; names the file.
    """
    owner = owner or "version@1"
    try:
        return prompts.parse_own(texts, owner, owner.partition("@")[0])
    except ConfigError as exc:
        raise AdapterRefused(exc.message) from exc


def described(own: Mapping[Task, Prompt]) -> dict[str, dict[str, str]] | None:
    """Return what the registry keeps of a version's prompts; None where it has none."""
    return {task: {"name": one.name, "hash": one.hash} for task, one in own.items()} or None


def task_of(path: Path) -> Task:
    """Return the task that a prompt's file is of; raises AdapterRefused."""
    for task in _TASKS:
        if path.name == f"{task}{_ENDING}":
            return task
    named = ", ".join(f"{task}{_ENDING}" for task in _TASKS)
    raise AdapterRefused(f"{PROMPTS}/{path.name} is no task's prompt: there are {named}")


def _text(path: Path) -> str:
    name = f"{PROMPTS}/{path.name}"
    if path.is_symlink() or not path.is_file():
        raise AdapterRefused(f"{name} is no plain file")
    with path.open("rb") as file:
        content = file.read(LIMIT_BYTES + 1)
    if len(content) > LIMIT_BYTES:
        raise AdapterRefused(f"{name} is over {LIMIT_BYTES >> 10} KiB: it is no prompt")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise AdapterRefused(f"{name} is no UTF-8: {exc}") from exc
