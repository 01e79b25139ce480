"""Which cluster this process joins, and what it refuses to join one with."""

import ipaddress
import os
import socket

from serving.config.settings import Settings
from serving.errors import ConfigError

LOCAL = "local"


def address(settings: Settings) -> str:
    """The cluster to join, as `ray.init` takes it; `LOCAL` where this process starts its own."""
    return settings.ray_address or os.environ.get("RAY_ADDRESS") or LOCAL


def check_tls(settings: Settings, address: str) -> None:
    """Refuse a listener that would answer in plain HTTP though the configuration says TLS.

    The certificate is given to HAProxy by a program of ours that lies on this machine
    (haproxy.py); on a cluster each machine starts its HAProxy as Ray does.

    Raises:
        ConfigError: It would.
    """
    if address != LOCAL and settings.http.tls is not None and settings.http.proxy == "haproxy":
        raise ConfigError(
            "http.tls: HAProxy takes a certificate on one machine only, and this joins a cluster "
            f"({address}). End TLS at the load balancer and remove http.tls, or set http.proxy to "
            "python (docs/clusters.md).",
            param="http.tls",
        )


def check_token(has_token: bool) -> None:
    """Refuse to join a cluster that anybody who reaches it may run code on.

    Args:
        has_token: Whether this process asks for Ray's token, and has one.

    Raises:
        ConfigError: It does not.
    """
    if not has_token:
        raise ConfigError(
            "ray_address: a cluster is joined only with Ray's token, since whoever reaches one "
            "without runs code on it. Set RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN on every "
            "machine, before `ray start` too (docs/clusters.md).",
            param="ray_address",
        )


def check_private(address: str) -> None:
    """Refuse a cluster that listens on a public address.

    Args:
        address: Where its head listens, such as ``10.0.0.5:6379`` or ``[fd00::1]:6379``.

    Raises:
        ConfigError: It does, or nobody can tell.
    """
    host = address.rpartition(":")[0].strip("[]")
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as exc:  # the latter where no name is so long, or empty
        raise ConfigError(
            f"ray_address: the cluster's address, {address!r}, cannot be looked up, so nobody can "
            "tell whether it is private.",
            param="ray_address",
        ) from exc
    if public := sorted(one for one in found if ipaddress.ip_address(one).is_global):
        raise ConfigError(
            f"ray_address: the cluster listens on {public[0]}, a public address. Start its "
            "machines with `ray start --node-ip-address=` and an address of a private network.",
            param="ray_address",
        )
