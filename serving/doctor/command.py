"""The command: a table for people, JSON for programs, a bundle for whoever helps."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from serving.config import settings as settings_module
from serving.errors import ConfigError
from serving.startup.keys import DEFAULT_CONFIG, Config
from serving.terminal import Json

FAULTS = 7
"""Exit status where something is at fault; warnings alone are 0."""
_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(
    config: Config = DEFAULT_CONFIG,
    json_: Json = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Also write a .tar.gz for a bug report: no secrets, no conversations."),
    ] = None,
) -> None:
    """Look for what is wrong: versions, machine, configuration, server, store, keys, disks, logs.

    Nothing is changed. The exit status is 7 where there is a fault.
    """
    from serving.cluster.environment import ray_folder
    from serving.doctor import bundle as bundles
    from serving.doctor import deployment, machine
    from serving.doctor.finding import Finding, State, all_of, worst

    settings, unread = None, None
    try:
        settings = settings_module.load(config)
    except ConfigError as exc:
        unread = Finding("configuration", State.FAULT, exc.message)
    logs = ray_folder() / "session_latest" / "logs"
    checks = [("versions", machine.versions), ("machine", machine.machine)]
    if settings is not None:
        about = {
            "configuration": deployment.configuration,
            "server": deployment.server,
            "store": deployment.store,
            "keys": deployment.keys,
            "journals": deployment.journals,
        }
        checks += [(name, partial(check, settings)) for name, check in about.items()]
        folders = {"journal.dir": settings.journal.dir}
        uris = {"adapters.uri": settings.adapters.uri, "files.uri": settings.files.uri}
        folders |= {key: Path(uri) for key, uri in uris.items() if "://" not in uri}
        checks.append(("disks", partial(machine.disks, folders)))
    checks.append(("last errors", partial(machine.logs, logs)))
    found = all_of(checks)
    if unread is not None:
        found.insert(2, unread)
    if json_:
        sys.stdout.write(bundles.as_json(found))
    else:
        table = Table("what", "state", "found")
        for one in found:
            colour = _COLOURS[one.state]
            table.add_row(one.about, f"[{colour}]{one.state}[/{colour}]", _plain(one.said))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    if bundle is not None:
        bundles.write(bundle, found, settings, logs)
        Console(stderr=True, soft_wrap=True).print(f"{bundle} is written.", markup=False)
    if worst(found) == State.FAULT:
        raise typer.Exit(FAULTS)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
