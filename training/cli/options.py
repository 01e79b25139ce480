"""What the commands of `training` have in common on the command line.

Light, as the command modules are: nothing but typer is imported at once.
"""

import logging
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


class _Lines(logging.Handler):
    """Prints each record as one line, however long: rich's own handler folds lines in pipes."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__()
        self._stderr = stderr

    def emit(self, record: logging.LogRecord) -> None:
        from rich.console import Console

        console = Console(stderr=self._stderr, soft_wrap=True)
        console.print(self.format(record), markup=False, highlight=False)


def show_steps(*, stderr: bool = False, indent: str = "") -> None:
    """Show what training logs of its steps, a line each, while a command runs."""
    handler = _Lines(stderr=stderr)
    handler.setFormatter(logging.Formatter(f"{indent}%(message)s"))
    steps = logging.getLogger("training")
    steps.handlers = [kept for kept in steps.handlers if not isinstance(kept, _Lines)] + [handler]
    steps.setLevel(logging.INFO)
