"""Where a request comes from, by what no client can forge.

The peer of the connection is known to whoever accepted it. Our own HAProxy says it in a header with
a token that its start has drawn (`serving.cluster.haproxy`), in place of whatever the client sent
there; without the token the header counts for nothing, and the peer is that of our own socket.
Where the peer is a proxy that the configuration trusts, `x-forwarded-for` is read from its end:
each trusted proxy has added the address that it saw, so the last one that is not such a proxy's is
the client's, and what stands before it anybody may have written (RFC 7239, 8.1, says the same of
`forwarded`).
"""

import hmac
import ipaddress
from collections.abc import Iterable, Sequence

from serving.asgi import Scope

PEER = "x-switchboard-peer"
TOKEN_VARIABLE = "SWITCHBOARD_PROXY_TOKEN"  # noqa: S105 - its name
_PEER = PEER.encode()
_FORWARDED = b"x-forwarded-for"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def evidence(scope: Scope) -> tuple[str, bytes, bytes]:
    """Return all that `client` goes by: the socket's peer, the proxy's header, the forwarded."""
    peer = scope.get("client")
    named, forwarded = b"", []
    for name, value in scope["headers"]:
        if name == _PEER:
            named = value
        elif name == _FORWARDED:
            forwarded.append(value)
    return str(peer[0]) if peer else "", named, b",".join(forwarded)


def client(
    seen: tuple[str, bytes, bytes], token: str | None, proxies: Sequence[Network]
) -> Address | None:
    """Return a request's client; None where it is not known.

    Args:
        seen: As `evidence` returns it.
        token: What our own proxy sends with the peer; None where there is none.
        proxies: Those whose `x-forwarded-for` is believed.
    """
    peer, named, forwarded = seen
    sent, comma, said = named.partition(b",")
    if comma and token and hmac.compare_digest(sent, token.encode()):
        peer = said.decode("latin-1")
    found = parsed(peer)
    hops = forwarded.decode("latin-1").split(",") if forwarded else []
    while found is not None and hops and _within(found, proxies):
        before = parsed(hops.pop())
        if before is None:  # no address: what is nearest to us is all that is known
            break
        found = before
    return found


def parsed(text: str) -> Address | None:
    """Return an address, with a port or without; IPv4 in IPv6 is IPv4. None: it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def network(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """Return the network of an address, such as ``192.0.2.0/24``."""
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    return str(ipaddress.ip_network((address, prefix), strict=False))


def networks(given: Iterable[str]) -> list[Network]:
    """Return networks by their names; raises ValueError where one is none."""
    return [ipaddress.ip_network(one) for one in given]


def _within(address: Address, proxies: Sequence[Network]) -> bool:
    return any(address in one for one in proxies)
