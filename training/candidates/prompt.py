"""A new prompt becomes a candidate: the live version's weights, its prompts, and the new one.

So it goes the way of an adapter, and what is promoted is one thing, weights and prompts together.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving.adapters import artifacts
from serving.adapters import prompts as own_prompts
from serving.adapters.manifests import PROMPTS
from serving.adapters.registry import Registry
from serving.config.prompts import Prompt, Task
from serving.config.settings import Settings
from serving.errors import AdapterRefused, Conflict, InvalidRequest
from serving.store import audit
from serving.store.database import Database
from serving.store.records import AdapterVersion, Json, State
from training.execution import asked_by
from training.execution.fitting import is_bare
from training.trainers import neutral

ADDED = "add_prompt"


@dataclass(frozen=True)
class Added:
    """A candidate that is another prompt.

    Args:
        version: The candidate.
        parent: What is live; None is the base.
        changed: The tasks that it is asked differently for.
        is_new: Whether it was registered now; else it was there already.
    """

    version: AdapterVersion
    parent: AdapterVersion | None
    changed: tuple[Task, ...]
    is_new: bool


async def add(db: Database, settings: Settings, lob: str, files: Mapping[Task, Path]) -> Added:
    """Register a candidate that is asked by these prompts, and else as what is live.

    The same prompts again are the same candidate, as long as it is one.

    Args:
        db: The store.
        settings: The server's configuration.
        lob: The line of business.
        files: A prompt's file by task; at least one.

    Raises:
        NotFound: The line of business is not configured.
        InvalidRequest: A file is no prompt; names it, and the line or the variable.
        Conflict: Nothing differs from what is live.
        AdapterRefused: The live version lies on another base, or its files are not as registered.
        Unavailable: Files cannot be read or written now.
    """
    settings.require_lob(lob)
    new = {task: await asyncio.to_thread(read, path, task, lob) for task, path in files.items()}
    registry = Registry(db, settings.adapters.uri)
    parent = await asked_by.live(registry, lob)
    live = await asked_by.whole(parent, lob, settings)
    changed = tuple(task for task, one in new.items() if one.hash != live.prompts[task].hash)
    if not changed:
        at = parent.name if parent else f"the base, {settings.served_name}"
        same = ", ".join(f"{task} {one.hash}" for task, one in new.items())
        raise Conflict(f"Nothing differs from what is live ({at}): {same}.")
    own = (parent.prompts if parent else None) or {}
    wanted = {task: one["hash"] for task, one in own.items()}
    wanted |= {task: new[task].hash for task in changed}
    there = _same(await registry.list(lob), parent, wanted)
    if there is not None:
        return Added(there, parent, changed, is_new=False)
    base_hash = await asyncio.to_thread(artifacts.model_hash, settings.model)
    if parent is not None and parent.base_hash != base_hash:
        raise AdapterRefused(f"{parent.name} was trained on another base than the one that serves")
    source = await asked_by.folder(parent, settings) if parent else None
    with tempfile.TemporaryDirectory(prefix="switchboard-prompt-") as scratch:
        folder = Path(scratch) / "adapter"
        given = {task: files[task] for task in changed}
        await asyncio.to_thread(_write, folder, source, given, settings, base_hash)
        version = await registry.register(
            lob,
            await registry.reserve(lob),
            folder,
            parent=parent.name if parent else None,
            base_model=settings.model,
            base_hash=base_hash,
            dataset_id=None,
            recipe=recipe_of(parent, changed),
            metrics={},
            rank=parent.rank if parent else neutral.RANK,
        )
    detail = {"parent": version.parent, "changed": list(changed), "by": audit.operator()}
    await audit.write(db, None, ADDED, version.name, detail)
    return Added(version, parent, changed, is_new=True)


def recipe_of(parent: AdapterVersion | None, changed: tuple[Task, ...]) -> Json:
    """Return how a version came about whose weights are its parent's.

    `start` says, as of a training, whether it goes on from the parent's weights: then what taints
    the parent taints it.
    """
    start = "fresh" if parent is None or is_bare(parent) else "live"
    return {"start": start, "prompt": {"changed": list(changed)}}


def read(path: Path, task: Task, lob: str) -> Prompt:
    """Read and parse a prompt's file, as the configured ones are parsed.

    Raises:
        InvalidRequest: It cannot be used; names the file, and the line or the variable.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
        if len(content) > own_prompts.LIMIT_BYTES:
            raise ValueError(f"it is over {own_prompts.LIMIT_BYTES >> 10} KiB")
        _check_syntax(text)
        return own_prompts.parse({task: text}, f"{lob}@0")[task]
    except jinja2.TemplateSyntaxError as exc:
        raise InvalidRequest(f"{path}, line {exc.lineno}: {exc.message}", param="prompt") from exc
    except AdapterRefused as exc:
        words = exc.message.partition(".jinja: ")[2] or exc.message
        raise InvalidRequest(f"{path}: {words}", param="prompt") from exc
    except (OSError, ValueError) as exc:
        raise InvalidRequest(f"{path}: {exc}", param="prompt") from exc


def _check_syntax(text: str) -> None:
    """Raise Jinja's own error, which knows the line."""
    ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).parse(text)


def _same(
    versions: list[AdapterVersion], parent: AdapterVersion | None, wanted: Mapping[str, str]
) -> AdapterVersion | None:
    """Return the candidate that already has these prompts on these weights; None: there is none."""
    name = parent.name if parent else None
    for version in reversed(versions):
        hashes = {task: one["hash"] for task, one in (version.prompts or {}).items()}
        waits = version.state in (State.CANDIDATE, State.CANARY)
        if waits and "prompt" in version.recipe and version.parent == name and hashes == wanted:
            return version
    return None


def _write(
    folder: Path,
    source: Path | None,
    files: Mapping[Task, Path],
    settings: Settings,
    base_hash: str,
) -> None:
    """Make the candidate's folder, and check that it can be served."""
    if source is None:
        neutral.write(folder, base_model=settings.model, base_hash=base_hash)
    else:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(artifacts.MANIFEST))
    (folder / PROMPTS).mkdir(exist_ok=True)
    for task, path in files.items():
        shutil.copyfile(path, folder / PROMPTS / f"{task}.jinja")
    artifacts.check_adapter(
        folder,
        base_hash=base_hash,
        max_rank=settings.adapters.max_rank,
        base_folder=artifacts.model_folder(settings.model),
    )
