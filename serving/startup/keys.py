"""`switchboard keys`: API keys are made, listed and revoked in the store itself."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from serving import terminal
from serving.config import settings as settings_module
from serving.errors import InvalidRequest
from serving.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
console = terminal.console()

Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="SWITCHBOARD_CONFIG", help="Configuration file.")
]
DEFAULT_CONFIG = Path("configs/demo.yaml")


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="Who or what the key is for.")],
    role: Annotated[list[str], typer.Option(help="service, agent, trainer or admin; repeatable.")],
    lob: Annotated[list[str] | None, typer.Option(help="Line of business; repeatable.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every line of business, also those to come.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(help="Lifetime, such as 90d, 12h or 30m. Default: no end.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Create a key and print it once; only its hash is kept."""
    from serving import auth as keys

    if bool(lob) == all_:
        raise InvalidRequest(
            "Say what the key covers: --lob NAME, once for each line of business, or --all."
        )
    expires_at = None if expires is None else time.time() + _seconds(expires)

    async def store(db: Any) -> Any:
        return await keys.create(
            db, name=name, roles=role, lobs=lob or [keys.ALL], expires_at=expires_at
        )

    plaintext, key = _with_store(config, store)
    until = "without end; --expires 90d would end it" if expires is None else f"for {expires}"
    Console(stderr=True, soft_wrap=True).print(
        f"{key.id}: keep this key, it is not shown again. It is valid {until}."
    )
    sys.stdout.write(f"{plaintext}\n")


@app.command("list")
def list_(json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """List keys, without their secrets."""
    from serving import auth as keys

    known = _with_store(config, keys.list_keys)
    if json_:
        print_json([key.model_dump(mode="json", exclude={"hash"}) for key in known])
        return

    table = Table("id", "name", "prefix", "roles", "LOBs", "created", "expires", "revoked")
    for key in known:
        table.add_row(
            key.id,
            key.name,
            key.prefix,
            " ".join(key.roles),
            " ".join(key.lobs),
            *(when(at) for at in (key.created_at, key.expires_at, key.revoked_at)),
        )
    console.print(table)


@app.command("revoke")
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The key's id (key_…).")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Revoke a key; running servers refuse it within two seconds."""
    from serving import auth as keys

    _with_store(config, lambda db: keys.revoke(db, id_))
    console.print(f"{id_} is revoked.")


def _seconds(lifetime: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", lifetime)
    if found is None or not float(found[1]):
        raise InvalidRequest(f"--expires {lifetime!r}: give a number and d, h or m, such as 90d.")
    return float(found[1]) * {"d": 86_400, "h": 3_600, "m": 60}[found[2]]


def _with_store(config: Path, action: Any) -> Any:
    from serving.store.database import Database

    async def run() -> Any:
        db = Database(settings_module.load(config).store_address)
        await db.open()
        try:
            return await action(db)
        finally:
            await db.close()

    return asyncio.run(run())


def when(at: float | None) -> str:
    """A time as people read it, in UTC."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
