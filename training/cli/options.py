"""What the commands of `training` have in common on the command line.

Light, as the command modules are: nothing but typer is imported.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from serving.config.settings import Settings
    from serving.store.database import Database

T = TypeVar("T")

DEFAULT_CONFIG = Path("configs/demo.yaml")
DEFAULT_OUT = Path("runs")

Lob = Annotated[str, typer.Argument(help="The line of business, such as care.")]
Config = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="SWITCHBOARD_CONFIG", help="The server's configuration file."
    ),
]
RecipePath = Annotated[
    Path | None,
    typer.Option(
        "--recipe", help="Recipe; by default training/LOB.yaml or default.yaml beside --config."
    ),
]
RunningUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SWITCHBOARD_URL",
        help="Address of the running server, without /v1. By default the configured one.",
    ),
]
"""Of a command that needs the server."""
RunningOrPrivateUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SWITCHBOARD_URL",
        help="Address of the running server, without /v1. By default the configured one; "
        "if none answers, a private one is started.",
    ),
]
"""Of a command that can do without."""
Out = Annotated[Path, typer.Option("--out", help="Folder for datasets, runs and reports.")]


def with_store(config: Path, action: "Callable[[Database, Settings], Awaitable[T]]") -> T:
    """Do something with the store of a configuration, open meanwhile."""
    import asyncio

    from serving.config import settings as server_settings
    from serving.store.database import Database

    async def run() -> T:
        settings = server_settings.load(config)
        db = Database(settings.store_address)
        await db.open()
        try:
            return await action(db, settings)
        finally:
            await db.close()

    return asyncio.run(run())
