"""Ports: one in use is refused by name."""

import socket

import pytest

from serving import ports
from serving.config.sections import Http
from serving.errors import ConfigError


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


def test_an_ipv6_address_is_bound_and_named_in_brackets() -> None:
    ports.check(Http(host="::1", port=(port := ports.free())))
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", port))
        taken.listen()
        with pytest.raises(ConfigError, match=rf"http\.port: \[::1\]:{port} cannot be bound"):
            ports.check(Http(host="::1", port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no host at all"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.host: .*address of this machine"):
        ports.check(Http(host=host, port=ports.free()))
