"""Ports: one in use is refused by name."""

import socket

import pytest

from serving import ports
from serving.errors import ConfigError
from serving.settings import Http


def test_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        http = Http(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"http\.port: 127\.0\.0\.1:\d+ cannot be bound"):
            ports.check(http)


def test_free_port_can_be_bound() -> None:
    ports.check(Http(host="127.0.0.1", port=ports.free()))


def test_free_ports_are_none_that_linux_gives_to_clients() -> None:
    assert all(ports.free() < 32_768 for _ in range(20))


def test_port_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port := ports.free()))
        taken.listen()
        monkeypatch.setattr(ports, "_FREE", (port, port + 100))
        assert all(ports.free() != port for _ in range(20))
