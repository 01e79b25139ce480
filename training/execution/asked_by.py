"""By which prompts a version is asked: its own, from its verified folder, else the configured ones.

A version that is made while another one with prompts of its own is live gets these too: a promotion
changes weights, and must not take back a prompt that was promoted before.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from serving.adapters import artifacts
from serving.adapters import prompts as own_prompts
from serving.adapters.manifests import PROMPTS
from serving.adapters.registry import Registry
from serving.config import prompts as configured
from serving.config.prompts import Task
from serving.config.settings import Settings
from serving.errors import NotFound
from serving.store.records import AdapterVersion
from training.data.forms.form import Form


async def live(registry: Registry, lob: str) -> AdapterVersion | None:
    """Return the version that is live; None is the base."""
    route = (await registry.routes()).get(lob)
    if route is None or route.live is None:
        return None
    version = await registry.get(route.live)
    if version is None:
        raise NotFound(f"there is no version {route.live!r}")
    return version


async def folder(version: AdapterVersion, settings: Settings) -> Path:
    """Return a version's folder, verified.

    Raises:
        AdapterRefused: Its files are not what was registered.
        Unavailable: Its files cannot be read now.
    """
    cache, uri = settings.adapters.cache_dir, version.uri
    return await asyncio.to_thread(artifacts.fetch, uri, cache, version.manifest_hash)


async def own(version: AdapterVersion | None, settings: Settings) -> Form | None:
    """Return the form of a version's own prompts; None where it has none.

    Raises:
        AdapterRefused: Its files are not what was registered.
        Unavailable: Its files cannot be read now.
    """
    if version is None or not version.prompts:
        return None
    files = await folder(version, settings)
    found = await asyncio.to_thread(own_prompts.of_folder, files, version.name)
    line = settings.lobs[version.lob]
    return Form(version.name, version.lob, line, found, texts(files))


async def whole(version: AdapterVersion | None, lob: str, settings: Settings) -> Form:
    """Return the form of all that a version is asked: the configured prompts where it has no own.

    Args:
        version: The version; None is the base.
        lob: Its line of business.
        settings: The server's configuration.

    Raises:
        AdapterRefused: Its files are not what was registered.
        ConfigError: A configured prompt cannot be used.
        Unavailable: Its files cannot be read now.
    """
    its = await own(version, settings)
    parsed = await asyncio.to_thread(configured.load, settings.prompts, [lob])
    prompts = {task: prompt for (_, task), prompt in parsed.items()}
    prompts |= its.prompts if its else {}
    name = settings.served_name if version is None else version.name
    return Form(name, lob, settings.lobs[lob], prompts)


async def overtaken(registry: Registry, lob: str, name: str) -> str | None:
    """Say why a version must not follow what is live: it would bring back another prompt.

    It has the prompts of what was live when it was made, and another may have been promoted or
    rolled back since.

    Args:
        registry: The adapter registry.
        lob: The line of business.
        name: The version.

    Returns:
        None where both are asked by the same prompts.
    """
    now, version = await live(registry, lob), await registry.get(name)
    if version is None or _hashes(now) == _hashes(version):
        return None
    return (
        f"{name} has other prompts than {now.name if now else 'the base'}, which became live while "
        "it was made; what is trained from now on has the live ones"
    )


def _hashes(version: AdapterVersion | None) -> dict[str, str]:
    own = version.prompts if version else None
    return {task: one["hash"] for task, one in (own or {}).items()}


def texts(folder: Path) -> dict[Task, str]:
    """Return the texts of the prompts in a version's folder."""
    inside = folder / PROMPTS
    found = sorted(inside.iterdir()) if inside.is_dir() else []
    return {own_prompts.task_of(path): path.read_text(encoding="utf-8") for path in found}


@contextmanager
def inheriting(adapter: Path, parent: Path | None) -> Iterator[Path]:
    """Yield a folder of an adapter with its parent's prompts, to be published.

    Args:
        adapter: The PEFT folder; it stays as it is.
        parent: The folder of the version whose prompts it gets; None: none.
    """
    if parent is None or not (parent / PROMPTS).is_dir():
        yield adapter
        return
    with TemporaryDirectory(prefix="switchboard-prompts-") as scratch:
        both = Path(scratch) / "adapter"
        shutil.copytree(adapter, both, ignore=shutil.ignore_patterns(PROMPTS))
        shutil.copytree(parent / PROMPTS, both / PROMPTS)
        yield both
