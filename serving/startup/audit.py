"""`switchboard audit`: who did what, and whether the record of it is whole."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from serving.config import settings as settings_module
from serving.errors import InvalidRequest
from serving.startup.keys import DEFAULT_CONFIG, Config, when
from serving.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="The audit: show, export, verify.")

BROKEN = 5
"""Exit status of a chain that does not hold."""


@app.command("verify")
def verify(
    head: Annotated[
        str | None,
        typer.Option(help="NUMBER:HASH that an export printed; it must be in the chain."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Follow the chain of hashes; the exit status is 5 where an entry was changed or is missing."""
    from serving.store import audit

    at, broken = _with_store(config, audit.verify)
    known = None if head is None else _with_store(config, lambda db: _hash_of(db, head))
    if broken is None and known is False:
        broken = audit.Broken(at.number, f"{head} is not in the chain: it was made anew")
    if broken is not None:
        _say(f"The audit is broken: {broken.reason}. It holds up to entry {at.number}.")
        raise typer.Exit(BROKEN)
    _say(f"The audit is whole: {at.number}:{at.hash}")


@app.command("tail")
def tail(
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show the last acts, oldest first."""
    import orjson

    from serving.store import audit

    entries = list(reversed(_with_store(config, lambda db: audit.tail(db, n))))
    if json_:
        print_json(entries)
        return
    for entry in entries:
        detail = orjson.dumps(entry.detail).decode()
        who = entry.key_id or "-"
        _say(f"{entry.id} {when(entry.created_at)} {who} {entry.action} {entry.target} {detail}")


@app.command("export")
def export(
    to: Annotated[Path, typer.Argument(help="A new file of JSON Lines.")],
    reason: Annotated[str | None, typer.Option(help="Why; the audit keeps it.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write the audit as JSON Lines, and print its head to keep elsewhere."""
    from serving.store import audit

    async def write(db: Any) -> Any:
        if to.exists():
            raise InvalidRequest(f"{to} exists already; it stays as it is.")
        detail = {"by": audit.operator(), "reason": reason}
        await audit.write(db, None, "export_audit", "audit", detail)  # the export holds it, too
        head = await audit.head(db)
        with to.open("x", encoding="utf-8") as file:
            async for page in audit.pages(db, head.number):
                file.writelines(f"{entry.model_dump_json()}\n" for entry in page)
        return head

    head = _with_store(config, write)
    _say(f"{to}: {head.number} entries; the head is")
    sys.stdout.write(f"{head.number}:{head.hash}\n")


async def _hash_of(db: Any, head: str) -> bool:
    """Whether an entry has this number and hash."""
    from serving.store import audit

    number, _, hash_ = head.partition(":")
    if not number.isdecimal():
        raise typer.BadParameter("give NUMBER:HASH", param_hint="--head")
    async for page in audit.pages(db, int(number)):
        if page[-1].id == int(number):
            return page[-1].hash == hash_
    return False


def _say(line: str) -> None:
    Console(soft_wrap=True).print(line, markup=False, highlight=False)


def _with_store(config: Any, action: Callable[[Any], Awaitable[Any]]) -> Any:
    from serving.store.database import Database

    settings = settings_module.load(config)

    async def run() -> Any:
        db = Database(settings.store_address)
        await db.open()
        try:
            return await action(db)
        finally:
            await db.close()

    return asyncio.run(run())
