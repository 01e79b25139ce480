"""`switchboard backup` and `switchboard restore`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.config import settings as settings_module
from serving.startup.keys import DEFAULT_CONFIG, Config

INCOMPLETE = 6
"""Exit status of a backup in which something that the store names could not be copied."""
Folder = Annotated[Path, typer.Argument(help="The backup's folder.")]


def backup(folder: Folder, config: Config = DEFAULT_CONFIG) -> None:
    """Copy the store, adapters, files and this machine's journals, while the server answers.

    The exit status is 6 where a file that the store names is gone; the backup is made all the same.
    """
    from serving import backup as backups

    settings = settings_module.load(config)
    made = asyncio.run(backups.take(settings, folder))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _say(
        f"{folder}: {made.store} at step {made.revision}, {len(made.versions)} adapters, "
        f"{len(made.files)} files, {size / 1e6:.1f} MB. Its texts are as clear as in the store; "
        "the keys of storage.keys are not in it."
    )
    for one in made.missing:
        _say(f"  missing: {one}")
    if made.missing:
        raise typer.Exit(INCOMPLETE)


def restore(
    folder: Folder,
    config: Config = DEFAULT_CONFIG,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare every file with the manifest.")
    ] = False,
) -> None:
    """Bring a backup back into an empty store, with its tables of this release.

    What waited in journals is drained by the next start.
    """
    from serving import backup as backups

    if verify:
        found = backups.read(folder)
        _say(f"{folder} is whole: of {found.ended_at}, release {found.release}.")
        return
    settings = settings_module.load(config)
    found = asyncio.run(backups.restore(settings, folder))
    _say(
        f"Restored as of {found.began_at}: {len(found.versions)} adapters, {len(found.files)} "
        "files. Repeat the erasures of after that time: docs/operations.md."
    )


def _say(line: str) -> None:
    Console(soft_wrap=True).print(line, markup=False, highlight=False)
