"""`switchboard retention`: what has outlived the retention of its line."""

import asyncio
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from serving.config import settings as settings_module
from serving.startup.keys import DEFAULT_CONFIG, Config
from serving.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="How long rows are kept.")


@app.command("preview")
def preview(json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """Count the rows that would be deleted now, by line and kind; nothing is."""
    from serving.store.database import Database
    from serving.store.erasure import aging

    settings = settings_module.load(config)

    async def run() -> dict[str, dict[str, int]]:
        db = Database(settings.store_address)
        await db.open()
        try:
            return {
                name: await aging.preview(db, name, before)
                for name, lob in settings.lobs.items()
                if (before := aging.limits(lob.retention))
            }
        finally:
            await db.close()

    found = asyncio.run(run())
    if json_:
        print_json(found)
        return
    if not found:
        _say("No line has a retention (lobs.NAME.retention): everything is kept.")
        return
    table = Table("line", *aging.KINDS)
    for name, counts in found.items():
        table.add_row(name, *(str(counts[kind]) for kind in aging.KINDS))
    _say(table)


def _say(what: Any) -> None:
    Console(width=200, soft_wrap=True).print(what, markup=False, highlight=False)
