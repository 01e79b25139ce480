"""What commands print: tables for people, JSON for programs."""

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")]
PIPE_WIDTH = 200
"""Characters; a table is whole in a pipe."""


def console() -> Console:
    """Return a console as wide as the terminal, or wide where there is none."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print a value as one JSON document; models and dataclasses become what JSON has for them."""
    sys.stdout.write(json.dumps(value, indent=1, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    dump = getattr(value, "model_dump", None)  # pydantic's, without importing it
    return dump(mode="json") if dump is not None else str(value)
