"""What the commands of `training` have in common on the command line.

Light, as the command modules are: nothing but typer is imported.
"""

from pathlib import Path
from typing import Annotated

import typer

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
