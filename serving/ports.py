"""TCP ports: is the configured one free, and which others are."""

import random
import socket

from serving.errors import ConfigError
from serving.settings import Http

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
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((http.host, http.port))
    except OSError as exc:
        raise ConfigError(
            f"http.port: {http.host}:{http.port} cannot be bound: "
            f"{exc.strerror}. Stop what listens there, or choose another port.",
            param="http.port",
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
