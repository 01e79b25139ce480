"""What the server writes is for its own user: conversations, datasets, tokens, logs.

Every process that we start creates files that nobody else may open. What is there already loses
the rights of others at a start; those of its group stay, since somebody has chosen a group.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from serving.errors import ConfigError

UMASK = 0o077
_OTHERS = stat.S_IRWXO


def keep() -> None:
    """Have this process, and those that it starts, create files for their own user only."""
    os.umask(UMASK)


def close(paths: Iterable[Path]) -> list[str]:
    """Take the rights of others from files and folders that are there.

    Returns:
        A line for each that was open, for the screen.

    Raises:
        ConfigError: One is another user's and open to all, or cannot be closed.
    """
    said = []
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not mode & _OTHERS:
            continue
        try:
            path.chmod(mode & ~_OTHERS)
        except OSError as exc:
            raise ConfigError(
                f"{path} is open to every user of this machine (mode {mode:o}) and cannot be "
                f"closed: {exc.strerror}. Give it to the server's user, or chmod o-rwx."
            ) from exc
        said.append(f"{path} was open to every user of this machine (mode {mode:o}); it is closed.")
    return said


def private_folder(path: Path) -> Path:
    """Make a folder in a place that all users share, such as /tmp, or check that it is ours.

    Raises:
        ConfigError: Somebody else has made it, or may write in it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to another user. Remove it, or set RAY_TMPDIR.")
    path.chmod(0o700)
    return path
