"""TCP ports: is the configured one free, and which others are."""

import errno
import random
import socket

from serving.config.sections import Http
from serving.errors import ConfigError

BLOCK = 50
# Above the ports that Ray gives to its workers, below those that Linux gives to clients: one of
# these would be taken by anybody between our finding it free and a proxy's listening on it.
_BLOCKS = (20_000, 30_000)
_FREE = (30_000, 32_768)
_RANDOM = random.SystemRandom()  # a seed of somebody else's would draw the same ports for all


def check(http: Http) -> None:
    """Refuse a port in use: the proxies share ports, so a second server would take requests.

    Raises:
        ConfigError: The address cannot be bound.
    """
    try:
        found = socket.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise ConfigError(
            f"http.host: {http.host!r} is no address of this machine: {exc.strerror}. Use "
            "0.0.0.0, 127.0.0.1, ::1 or :: (all).",
            param="http.host",
        ) from exc
    family, _, _, _, address = found[0]
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        here = f"[{http.host}]" if ":" in http.host else http.host
        key, fix = (
            ("http.port", "Stop what listens there, or choose another port")
            if exc.errno == errno.EADDRINUSE
            else ("http.port", "Choose a port over 1023")
            if exc.errno == errno.EACCES
            else ("http.host", "Choose an address of this machine")
        )
        raise ConfigError(
            f"{key}: {here}:{http.port} cannot be bound: {exc.strerror}. {fix}.", param=key
        ) from exc


def free() -> int:
    """A TCP port that nothing listens on now, and that Linux gives to no client later.

    Raises:
        OSError: None was found.
    """
    for port in _RANDOM.sample(range(*_FREE), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free TCP port found between {_FREE[0]} and {_FREE[1]}")


def block() -> int:
    """The first port of a block of `BLOCK` that, most likely, no other server here uses."""
    return _RANDOM.randrange(*_BLOCKS, BLOCK)
