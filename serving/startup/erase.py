"""`switchboard erase`: take a conversation, or a person, out of everything that is stored."""

import asyncio
import getpass
from typing import Annotated, Any

import typer
from rich.console import Console

from serving.config import settings as settings_module
from serving.errors import InvalidRequest
from serving.startup.keys import DEFAULT_CONFIG, Config

WAITS = 4
"""Exit status of an erasure that is not done yet: the same command goes on with it."""


def erase(
    conversation: Annotated[str | None, typer.Option(help="The conversation's id.")] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="The `user` of requests; every conversation with it is erased."),
    ] = None,
    lob: Annotated[str | None, typer.Option(help="Only of this line of business.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with all erasures that are not done.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Erase a conversation or a person from the store, files, journals, datasets and reports.

    Cut short, the same command goes on. The exit status is 4 while something is waited for.
    """
    named = [(k, n) for k, n in (("conversation", conversation), ("person", subject)) if n]
    if resume == bool(named) or len(named) > 1:
        raise InvalidRequest("Give one of --conversation, --subject and --resume.")
    if named and not reason:
        raise InvalidRequest("Give --reason: it is kept with the erasure.")
    done = asyncio.run(_run(config, named, lob, reason or ""))
    console = Console(soft_wrap=True)
    waits = False
    for erasure, waiting in done:
        counts = ", ".join(f"{n} {name}" for name, n in erasure.counts.items() if n)
        line = f"Erasure {erasure.id}: {erasure.state}; gone: {counts or 'nothing'}"
        console.print(line, markup=False, highlight=False)
        for one in waiting:
            waits = True
            console.print(f"  waits for {one}", markup=False, highlight=False)
    if waits:
        raise typer.Exit(WAITS)


async def _run(config: Any, named: list[tuple[str, str]], lob: str | None, reason: str) -> Any:
    from serving.encryption import keyring
    from serving.erasure import run
    from serving.files.storage import FileStorage
    from serving.store.database import Database
    from serving.store.erasure import erasures

    settings = settings_module.load(config)
    if lob is not None:
        settings.require_lob(lob)
    ring = None if settings.storage.keys is None else keyring.read(settings.storage.keys)
    db = Database(settings.store_address)
    await db.open()
    where: dict[str, Any] = {
        "journal_dir": settings.journal.dir,
        "keyring": ring,
        "storage": FileStorage(settings.files.uri),
    }
    try:
        if named:
            what = run.target(*named[0], lob, ring)
            why = f"{reason} ({getpass.getuser()})"
            return [await run.erase(db, what, reason=why, key_id=None, **where)]
        return [await run.go_on(db, one, **where) for one in await erasures.unfinished(db)]
    finally:
        await db.close()
