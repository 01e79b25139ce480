"""A request's client, by what no client can forge."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.alerts.client_address import PEER, client, evidence, network, networks, parsed

LAN = networks(["10.0.0.0/8", "fd00::/8"])


def scope(peer: str | None, *headers: tuple[str, str]) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    return {"client": None if peer is None else (peer, 4711), "headers": pairs}


def found(
    peer: str | None, *headers: tuple[str, str], token: str | None = None, lan: bool = True
) -> str:
    return str(client(evidence(scope(peer, *headers)), token, LAN if lan else []))


XFF = "x-forwarded-for"


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("::ffff:192.0.2.7", [], "192.0.2.7"),
        (None, [], "None"),
        ("testclient", [], "None"),
        # Who is no trusted proxy is the client, whatever it says of others.
        ("192.0.2.7", [(XFF, "203.0.113.9")], "192.0.2.7"),
        ("10.0.0.1", [(XFF, "203.0.113.9")], "203.0.113.9"),
        # What stands before the last untrusted address anybody may have written.
        ("10.0.0.1", [(XFF, "198.51.100.1, 203.0.113.9, 10.0.0.2")], "203.0.113.9"),
        ("10.0.0.1", [(XFF, "198.51.100.1"), (XFF, "203.0.113.9")], "203.0.113.9"),
        ("10.0.0.1", [(XFF, "203.0.113.9:5000")], "203.0.113.9"),
        ("fd00::1", [(XFF, '"[2001:db8::7]:443"')], "2001:db8::7"),
        ("10.0.0.1", [(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ("10.0.0.1", [(XFF, "203.0.113.9, unknown")], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "")], "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_not_a_trusted_proxys_is_the_clients(
    peer: str | None, headers: list[tuple[str, str]], expected: str
) -> None:
    assert found(peer, *headers) == expected


def test_our_proxys_word_counts_with_its_token_only() -> None:
    said = (PEER, "t0ken,203.0.113.9")
    assert found("127.0.0.1", said, token="t0ken") == "203.0.113.9"
    assert found("127.0.0.1", said, token="other") == "127.0.0.1"
    assert found("127.0.0.1", said) == "127.0.0.1", "no proxy of ours is in front"
    assert found("127.0.0.1", (PEER, ",203.0.113.9"), token="") == "127.0.0.1"
    assert found("127.0.0.1", (PEER, "203.0.113.9"), token="t0ken") == "127.0.0.1"
    balanced = [(PEER, "t0ken,10.0.0.1"), (XFF, "203.0.113.9")]
    assert found("127.0.0.1", *balanced, token="t0ken") == "203.0.113.9"
    assert found("127.0.0.1", *balanced, token="t0ken", lan=False) == "10.0.0.1"


@given(st.text(), st.binary(), st.binary())
def test_no_header_raises(peer: str, named: bytes, forwarded: bytes) -> None:
    for its in (peer, "10.0.0.1"):
        client((its, named, forwarded), "t0ken", LAN)


def test_a_network_is_the_first_bits_of_an_address() -> None:
    v4, v6 = parsed("192.0.2.200"), parsed("2001:db8:1:2::3%eth0")
    assert v4 is not None
    assert v6 is not None
    assert network(v4, 24, 48) == "192.0.2.0/24"
    assert network(v6, 24, 48) == "2001:db8:1::/48"
    assert network(v4, 32, 48) == "192.0.2.200/32"
