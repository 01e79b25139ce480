"""`switchboard init` and `switchboard serve`: from nothing to a running server."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving import names
from serving.config import settings as settings_module
from serving.errors import ConfigError


def init(
    model: Annotated[str, typer.Option(help="Checkpoint folder or hub id.")],
    lob: Annotated[list[str], typer.Option(help="Line of business; repeatable.")],
    config: Annotated[Path, typer.Argument(help="File to write.")] = Path("switchboard.yaml"),
) -> None:
    """Write a first configuration, with comments."""
    from serving.startup import first_config

    for name in lob:
        if not names.valid_lob(name):
            raise ConfigError(f"--lob {name!r}: use a-z, 0-9, _ and -, starting with a letter.")
    try:
        with config.open("x", encoding="utf-8") as file:
            file.write(first_config.text(str(config), model, lob))
    except FileExistsError as exc:
        raise ConfigError(f"{config} exists already; it stays as it is.") from exc
    except OSError as exc:
        raise ConfigError(f"{config} cannot be written: {exc.strerror}.") from exc
    _say(f"{config} is written. Next: switchboard serve {config} --check")


def serve(
    config: Annotated[Path, typer.Argument(help="Configuration file.")],
    port: Annotated[int | None, typer.Option(help="Overrides http.port.")] = None,
    check: Annotated[
        bool, typer.Option(help="Only look for faults, and say what this machine decides.")
    ] = False,
) -> None:
    """Start the server and stay in the foreground."""
    started = time.perf_counter()
    settings = settings_module.load(config, port=port)

    from serving.config import prompts
    from serving.config.revision import Revision
    from serving.startup import preflight

    if home := preflight.give_a_home():
        _say(f"There is no home folder (HOME): caches go to {home} and are lost.")
    os.environ.update(settings.environment())
    files = prompts.read(settings.prompts)
    found = preflight.run(settings, files, starting=not check)
    for line in found.lines():
        _say(line)
    if check:
        _say(f"{config}: no faults found.")
        return

    from serving.cluster import deployment

    deployment.start(Revision(settings, files))
    _say(
        f"Switchboard answers on {settings.url}/v1 with {settings.replicas} replica(s) after "
        f"{time.perf_counter() - started:.0f} s. Ctrl-C stops it."
    )
    deployment.wait()


def _say(line: str) -> None:
    Console(soft_wrap=True).print(line, markup=False, highlight=False)
