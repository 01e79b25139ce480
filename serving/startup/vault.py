"""`switchboard vault`: keys of the deployment, and originals of redacted interactions."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from serving.config import settings as settings_module
from serving.errors import ConfigError
from serving.startup.keys import DEFAULT_CONFIG, Config

app = typer.Typer(no_args_is_help=True, help="Originals of redacted interactions, and their keys.")
Reason = Annotated[str, typer.Option(help="Why; it is kept in the audit.")]


@app.command("new-key")
def new_key(id_: Annotated[str, typer.Argument(metavar="ID", help="Such as 2026-01.")]) -> None:
    """Print a line for the file of storage.keys; the last line seals, all lines open."""
    from serving.encryption import keyring

    sys.stdout.write(f"{keyring.new_line(id_)}\n")


@app.command("read")
def read(
    interaction: Annotated[str, typer.Argument(help="The response's id.")],
    reason: Reason,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print an interaction's originals as JSON; who read them and why is in the audit."""
    import orjson

    from serving.store.privacy import vault

    found = _with_store(
        config,
        lambda db, ring: vault.read(db, ring, interaction, who=getpass.getuser(), reason=reason),
    )
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")


@app.command("erase")
def erase(
    lob: Annotated[str, typer.Argument(help="Line of business.")],
    conversation: Annotated[
        str, typer.Argument(help="Its id; of an interaction outside conversations its own.")
    ],
    reason: Reason,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Erase the originals of a conversation; what is redacted stays."""
    from serving.store.privacy import vault

    scope = f"{lob}/{conversation}"
    _with_store(config, lambda db, _: vault.erase(db, scope, who=getpass.getuser(), reason=reason))
    _say(f"The originals of {scope} are erased.")


@app.command("rotate")
def rotate(config: Config = DEFAULT_CONFIG) -> None:
    """Wrap all data keys by the newest key, so that older ones are not needed for originals."""
    from serving.store.privacy import vault

    _say(f"{_with_store(config, vault.rotate)} data keys are wrapped anew.")


@app.command("encrypt-store")
def encrypt_store(config: Config = DEFAULT_CONFIG) -> None:
    """Put SQLite's file under the newest key, with store.encrypt; nothing else may have it open."""
    from serving.store.connection import parse_url
    from serving.store.drivers import files

    settings = settings_module.load(config)
    if not settings.store.encrypt:
        raise ConfigError("store.encrypt: off. Set it, then ask again.", param="store.encrypt")
    was_plain = files.encrypt(parse_url(settings.store_address))
    _say("The store is encrypted." if was_plain else "The store is under the newest key.")


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)


def _with_store(config: Any, action: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    from serving.encryption import keyring
    from serving.store.database import Database

    settings = settings_module.load(config)
    if settings.storage.keys is None:
        raise ConfigError("storage.keys: missing. There is no vault without.", param="storage.keys")
    ring = keyring.read(settings.storage.keys)

    async def run() -> Any:
        db = Database(settings.store_address)
        await db.open()
        try:
            return await action(db, ring)
        finally:
            await db.close()

    return asyncio.run(run())
