"""PostgreSQL's own dump and its way back, by the programs that come with it.

Passwords reach them by the environment, never by arguments, which other users of the machine see.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL

from serving.errors import ConfigError, StoreUnavailable

_DEBIAN = Path("/usr/lib/postgresql")
_VARIABLES = {
    "ssl": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "host": "PGHOST",
    "port": "PGPORT",
}


def environment(url: URL) -> dict[str, str]:
    """Return libpq's variables for a store's URL, as `store.connection.parse_url` gives it."""
    parts = {
        "PGHOST": url.host,
        "PGPORT": None if url.port is None else str(url.port),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    found = {name: value for name, value in parts.items() if value}
    found |= {_VARIABLES[key]: str(value) for key, value in url.query.items() if key in _VARIABLES}
    return found


async def dump(url: URL, target: Path) -> None:
    """Write one state of the database to a file while others go on writing.

    Raises:
        ConfigError: The program is not installed.
        StoreUnavailable: It failed, as where it is older than the server.
    """
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    await _run("pg_dump", options, environment(url))


async def load(url: URL, source: Path, then: Sequence[str], script: Path) -> None:
    """Fill an empty database from a dump, with more statements, in one transaction.

    Args:
        url: The database.
        source: What `dump` wrote.
        then: Statements that follow it.
        script: A file to write the whole to; it is removed.

    Raises:
        ConfigError: A program is not installed.
        StoreUnavailable: One failed; nothing was changed.
    """
    try:
        await _run("pg_restore", ["--no-owner", "--no-privileges", "-f", script, source], {})
        with script.open("a") as file:
            file.write("\n" + "".join(f"{one};\n" for one in then))
        options: list[str | Path] = [
            "--no-psqlrc",
            "--quiet",
            "-1",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            script,
        ]
        await _run("psql", options, environment(url))
    finally:
        await asyncio.to_thread(script.unlink, missing_ok=True)


def program(name: str) -> str:
    """Return the path of a program of PostgreSQL: on the search path, or Debian's newest.

    Raises:
        ConfigError: It is not installed.
    """
    folders = [path for path in _DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    newest = sorted(folders, key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name)
    for folder in newest if found is None else []:
        found = found or shutil.which(name, path=str(folder))
    if found is None:
        raise ConfigError(
            f"{name} is not installed: it comes with PostgreSQL's client programs "
            "(Debian: postgresql-client), of the server's version or newer.",
            param="store.url",
        )
    return found


async def _run(name: str, options: Sequence[str | Path], variables: Mapping[str, str]) -> None:
    path = program(name)
    process = await asyncio.create_subprocess_exec(
        path,
        *map(str, options),
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise StoreUnavailable(f"{name} failed.", reason="; ".join(lines[:3]))
