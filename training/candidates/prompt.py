"""A new prompt, or another model, becomes a candidate: what is live, and that instead.

So it goes the way of an adapter, and what is promoted is one thing: who answers and its prompts
together. Another model is one behind a configured upstream; it has no weights here, and is asked by
the prompts of what is live.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving.adapters import artifacts, upstreams
from serving.adapters import prompts as own_prompts
from serving.adapters.manifests import PROMPTS
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.config.prompts import Prompt, Task
from serving.config.settings import Settings
from serving.errors import AdapterRefused, Conflict, InvalidRequest
from serving.store import audit
from serving.store.database import Database
from serving.store.records import AdapterVersion, Json, State
from training.execution import asked_by
from training.execution.fitting import is_bare
from training.trainers import neutral

ADDED, ADDED_MODEL = "add_prompt", "add_model"


@dataclass(frozen=True)
class Added:
    """A candidate that is another prompt or another model.

    Args:
        version: The candidate.
        parent: What is live; None is the base.
        changed: The tasks that it is asked differently for.
        is_new: Whether it was registered now; else it was there already.
        model: The other model that answers for it; None where that is live's.
    """

    version: AdapterVersion
    parent: AdapterVersion | None
    changed: tuple[Task, ...]
    is_new: bool
    model: Other | None = None


async def add(
    db: Database,
    settings: Settings,
    lob: str,
    files: Mapping[Task, Path],
    upstream: str | None = None,
) -> Added:
    """Register a candidate that is asked by these prompts, and else as what is live.

    The same again is the same candidate, as long as it is one.

    Args:
        db: The store.
        settings: The server's configuration.
        lob: The line of business.
        files: A prompt's file by task; at least one where no model is given.
        upstream: The upstream that answers for it; None: what answers for live.

    Raises:
        NotFound: The line of business is not configured.
        InvalidRequest: A file is no prompt; names it, and the line or the variable. Or there is no
            such upstream.
        Conflict: Nothing differs from what is live.
        AdapterRefused: The live version lies on another base, or its files are not as registered.
        Unavailable: Files cannot be read or written now.
    """
    settings.require_lob(lob)
    given = None if upstream is None else _configured(settings, upstream)
    new = {task: await asyncio.to_thread(read, path, task, lob) for task, path in files.items()}
    registry = Registry(db, settings.adapters.uri)
    parent = await asked_by.live(registry, lob)
    live = await asked_by.whole(parent, lob, settings)
    changed = tuple(task for task, one in new.items() if one.hash != live.prompts[task].hash)
    answers = Other.of(parent.upstream) if parent else None
    model = None if given == answers else given
    if not changed and model is None:
        at = parent.name if parent else f"the base, {settings.served_name}"
        same = [f"{task} {one.hash}" for task, one in new.items()]
        same += [f"upstreams.{given.name} ({given.model})"] if given else []
        raise Conflict(f"Nothing differs from what is live ({at}): {', '.join(same)}.")
    other = model or answers
    own = (parent.prompts if parent else None) or {}
    wanted = {task: one["hash"] for task, one in own.items()}
    wanted |= {task: new[task].hash for task in changed}
    there = _same(await registry.list(lob), parent, wanted, other)
    if there is not None:
        return Added(there, parent, changed, is_new=False, model=model)
    base_hash = await asyncio.to_thread(artifacts.model_hash, settings.model)
    if parent is not None and other is None and parent.base_hash != base_hash:
        raise AdapterRefused(f"{parent.name} was trained on another base than the one that serves")
    source = await asked_by.folder(parent, settings) if parent else None
    with tempfile.TemporaryDirectory(prefix="switchboard-prompt-") as scratch:
        folder = Path(scratch) / "adapter"
        mine = {task: files[task] for task in changed}
        if other is not None:
            await asyncio.to_thread(_write_other, folder, source, mine, other)
        else:
            await asyncio.to_thread(_write, folder, source, mine, settings, base_hash)
        version = await registry.register(
            lob,
            await registry.reserve(lob),
            folder,
            parent=parent.name if parent else None,
            base_model=settings.model,
            base_hash=base_hash,
            dataset_id=None,
            recipe=recipe_of(parent, changed, model),
            metrics={},
            rank=_rank(parent, other),
        )
    detail: Json = {"parent": version.parent, "changed": list(changed), "by": audit.operator()}
    detail |= {"model": model.described} if model else {}
    await audit.write(db, None, ADDED_MODEL if model else ADDED, version.name, detail)
    return Added(version, parent, changed, is_new=True, model=model)


def recipe_of(
    parent: AdapterVersion | None, changed: tuple[Task, ...], model: Other | None = None
) -> Json:
    """Return how a version came about whose weights are its parent's, or which has none.

    `start` says, as of a training, whether it goes on from the parent's weights: then what taints
    the parent taints it.
    """
    bare = parent is None or model is not None or is_bare(parent)
    made: Json = {"start": "fresh" if bare else "live"}
    made |= {} if model is None else {"model": model.described}
    return made | ({"prompt": {"changed": list(changed)}} if changed or model is None else {})


def _configured(settings: Settings, upstream: str) -> Other:
    if upstream not in settings.upstreams:
        known = ", ".join(sorted(settings.upstreams)) or "none"
        raise InvalidRequest(
            f"`upstreams.{upstream}` is not configured; there are: {known}", param="model"
        )
    return Other(upstream, settings.upstreams[upstream].model)


def _rank(parent: AdapterVersion | None, other: Other | None) -> int:
    if other is not None:
        return 0
    return parent.rank if parent else neutral.RANK


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
    versions: list[AdapterVersion],
    parent: AdapterVersion | None,
    wanted: Mapping[str, str],
    other: Other | None,
) -> AdapterVersion | None:
    """Return the candidate that already has these prompts on these weights; None: there is none."""
    name = parent.name if parent else None
    for version in reversed(versions):
        hashes = {task: one["hash"] for task, one in (version.prompts or {}).items()}
        waits = version.state in (State.CANDIDATE, State.CANARY)
        ours = "prompt" in version.recipe or "model" in version.recipe
        same = hashes == wanted and Other.of(version.upstream) == other
        if waits and ours and version.parent == name and same:
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
    _add_prompts(folder, files)
    artifacts.check_adapter(
        folder,
        base_hash=base_hash,
        max_rank=settings.adapters.max_rank,
        base_folder=artifacts.model_folder(settings.model),
    )


def _write_other(
    folder: Path, source: Path | None, files: Mapping[Task, Path], other: Other
) -> None:
    """Make the folder of a candidate that another model answers: with live's prompts, no weights.

    Raises:
        AdapterRefused: One of the prompts cannot be used.
    """
    folder.mkdir()
    upstreams.write(folder, other)
    if source is not None and (source / PROMPTS).is_dir():
        shutil.copytree(source / PROMPTS, folder / PROMPTS)
    if files:
        _add_prompts(folder, files)
    own_prompts.of_folder(folder)


def _add_prompts(folder: Path, files: Mapping[Task, Path]) -> None:
    (folder / PROMPTS).mkdir(exist_ok=True)
    for task, path in files.items():
        shutil.copyfile(path, folder / PROMPTS / f"{task}.jinja")
