"""What other machines and other users of this one can reach of a running server."""

import ipaddress
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from serving.cluster import environment
from tests.e2e.server import Server

pytestmark = pytest.mark.e2e
FEWEST = 8
"""A server of two replicas listens on more ports than this: the reading must have worked."""


def listening(server: Server) -> dict[tuple[str, int], str]:
    """The TCP sockets that the server's processes listen on, and whose they are."""
    found = {}
    for process in server.tree():
        try:
            name = " ".join(process.cmdline())[:120]
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = name
        except psutil.NoSuchProcess:
            continue
    return found


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_all_but_the_listener_is_on_loopback(server: Server) -> None:
    found = listening(server)
    assert len(found) > FEWEST
    assert ("127.0.0.1", server.port) in found
    open_to_others = {at: name for at, name in found.items() if not is_loopback(at[0])}
    assert open_to_others == {}


def test_other_users_reach_no_file_of_the_server(server: Server) -> None:
    folders = [Path(server.settings["journal"]["dir"]), environment.ray_folder().parent]
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in folders] == ["0o700", "0o700"]
    store = Path(server.settings["store"]["url"].removeprefix("sqlite:///"))
    files = [path for path in store.parent.glob(f"{store.name}*") if path.is_file()]
    assert len(files) >= 2, "the WAL is there while the server runs"
    assert not [path for path in files if path.stat().st_mode & stat.S_IRWXO]
    token = Path.home() / ".ray" / "auth_token"
    assert not token.stat().st_mode & stat.S_IRWXO


def test_a_loopback_port_of_a_replica_is_not_a_way_past_the_keys(server: Server) -> None:
    replicas = [at for at, name in listening(server).items() if "ServeReplica" in name]
    asked = 0
    for ip, port in replicas:
        host = "127.0.0.1" if ip.startswith("::ffff:") else ip
        try:
            answer = httpx.get(f"http://{host}:{port}/v1/config", timeout=5)
        except httpx.TransportError:  # gRPC
            continue
        asked += 1
        assert answer.status_code == 401
    assert asked >= 2
