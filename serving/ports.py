"""TCP ports: is the configured one free, and which others are."""

import random
import socket

from serving.errors import ConfigError
from serving.settings import Http

BLOCK = 50


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
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def block() -> int:
    """The first port of a block of `BLOCK` that, most likely, no other server here uses.

    Below the ports that Linux gives to clients, above those that Ray gives to its workers.
    """
    return random.randrange(20_000, 30_000, BLOCK)  # noqa: S311 - nothing secret
