"""What HAProxy needs beyond the configuration that Ray Serve writes for it.

Ray starts HAProxy through a program of ours, a few lines of shell, which

- lets HAProxy ask another replica where one died, or could not answer, before its answer began,
  but only for requests that may be asked twice: inference, feedback and events, which
  are stored once. Ray's own setting would also repeat a rollback, which goes one step further
  each time;
- lets HAProxy listen where the configuration says, with TLS if it says so, while all else of Serve
  is on loopback; its statistics and its admin socket are files that only we may open;
- answers 503 with Retry-After in OpenAI's error shape where no replica can (Ray's page is a 500),
  or where it was started anew and knows of none yet (Ray's is a 404, after which nobody retries);
- tells replicas where a connection comes from, in a header with a token that they know: in place of
  what the client wrote there, and nobody who reaches a replica past HAProxy can write it;
- lets HAProxy write no line for each request: our own metrics and logs tell more;
- makes HAProxy die with the actor that watches it, so that an orphan does not hold the port.
"""

import json
import shlex
import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

from serving import endpoints, errors
from serving.alerts.client_address import PEER
from serving.config.sections import Tls
from serving.errors import ConfigError, Unavailable

REPEATABLE = (
    *endpoints.INFERENCE,
    *(endpoints.EMBEDDINGS, endpoints.RERANK, endpoints.FEEDBACK, endpoints.EVENTS),
)
RETRY_ON = "conn-failure empty-response 503"
"""HAProxy's `retry-on`: a replica that refuses, hangs up before it says anything, or cannot answer
now: its engine has died, or it is stopping."""
BUFFER_BYTES = 64 << 10
"""HAProxy's buffer, 16 KiB by default; a larger request is not sent again."""
BODY_S = 10
"""How long a client may take to send what fits in HAProxy's buffer."""

_CONVERSATION = "var(txn.conversation)"
_HEADER = "req.hdr(x-conversation-id)"
_FRONTEND = "frontend http_frontend"
_SCRIPT = """#!/bin/sh
config=
for argument; do
  [ "$last" = -f ] && config=$argument
  last=$argument
done
if [ -n "$config" ]; then
  grep -q disable-l7-retry "$config" || sed -i -f {rules} "$config"
  cp {page} "$(dirname "$config")/500.http"
fi
exec {command} "$@"
"""


def wrapper(
    folder: Path,
    binary: str,
    repeatable: Iterable[str] = REPEATABLE,
    *,
    listen: str | None = None,
    tls: Tls | None = None,
    token: str | None = None,
) -> Path:
    """Write the program that Ray is to start as HAProxy.

    Args:
        folder: Where to write it; nobody else may read it.
        binary: The real HAProxy.
        repeatable: Paths whose requests may be asked of another replica.
        listen: Where to listen, such as ``0.0.0.0:8000``, in place of where Ray would.
        tls: The certificate to answer with.
        token: Sent to replicas with the client's address, so that they believe it.

    Raises:
        ConfigError: The certificate or its key cannot be read.
    """
    page = folder / "503.http"
    page.write_bytes(error_page())
    asked = f"{{ path {' '.join(repeatable)} }}"
    tasks = f"{{ path {endpoints.SUGGESTIONS} {endpoints.SUMMARIES} {endpoints.INSIGHTS} }}"
    rules = [
        "http-request set-log-level silent",  # a line for each request, that nobody reads
        # Only a request that HAProxy holds whole can be sent again.
        f"http-request disable-l7-retry unless {asked} or METH_GET",
        # HAProxy 2.8 hangs where it sends a websocket's handshake again after a 503.
        f"http-request disable-l7-retry if {{ path {endpoints.REALTIME} }}",
        f"http-request wait-for-body time {BODY_S}s if METH_POST {asked}",
        # A conversation is named by a header, or by a field of a task's body.
        f"http-request set-{_CONVERSATION} {_HEADER}",
        f"http-request set-{_CONVERSATION} req.body,json_query('$.conversation_id') "
        f"if {tasks} !{{ {_CONVERSATION} -m found }}",
    ]
    # `set-header` takes away what a client sent by that name, however often.
    peer = "del-header" if token is None else "set-header"
    rules.append(f"http-request {peer} {PEER}" + ("" if token is None else f" {token},%[src]"))
    command = [binary]
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "KILL", "--", binary]
    unknown = f"    http-request return status 503 errorfile {page}".replace("/", r"\/")
    rays = "^ *http-request return"
    edits = [
        f"/^backend default_backend$/,/{rays}/s/{rays} .*/{unknown}/",
        "s/mode 666 level admin/mode 600 level admin/",
        *(_to_a_file(section, folder) for section in ("frontend prometheus", "listen stats")),
    ]
    if listen is not None:
        secured = "" if tls is None else f" ssl crt {_pem(folder, tls)} alpn h2,http/1.1"
        both = " v4v6" if listen.startswith(":::") else ""  # an IPv4 connection is taken too
        bind = f"bind {listen}{both}{secured}".replace("/", r"\/")
        edits.append(f"/^{_FRONTEND}$/,/^ *bind/s/^ *bind .*/    {bind}/")
    edits.append(f"/^{_FRONTEND}$/a\\" + "\\n".join(f"    {r}" for r in rules))
    edited = folder / "rules.sed"  # a command line is for every user to read
    edited.touch(0o600)
    edited.write_text("\n".join(edits) + "\n")
    script = _SCRIPT.format(
        rules=shlex.quote(str(edited)),
        page=shlex.quote(str(page)),
        command=shlex.join(command),
    )
    path = folder / "haproxy"
    path.write_text(script)
    path.chmod(0o700)
    return path


def _to_a_file(section: str, folder: Path) -> str:
    """A rule that moves what Ray leaves open to everybody from a port to a socket of ours."""
    socket = str(folder / f"{section.rpartition(' ')[2]}.sock").replace("/", r"\/")
    return f"/^{section}$/,/^ *bind/s/^ *bind .*/    bind {socket} mode 600/"


def _pem(folder: Path, tls: Tls) -> Path:
    """Certificate and key in one file, as HAProxy wants them."""
    path = folder / "listener.pem"
    path.touch(0o600)
    path.write_bytes(b"\n".join(read_tls(tls)))
    return path


def read_tls(tls: Tls) -> tuple[bytes, bytes]:
    """The certificate and the key.

    Raises:
        ConfigError: They cannot be read, or do not belong together.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
        return tls.certificate.read_bytes(), tls.key.read_bytes()
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"http.tls: {tls.certificate} and {tls.key} cannot be used: {exc.strerror}. Give a "
            "PEM certificate with its chain, and its key without a password.",
            param="http.tls",
        ) from exc


def balance(load_percent: int, *, wrapped: bool) -> str:
    """What stands after HAProxy's `balance`: a conversation's requests go to one replica.

    Consistent hashing with bounded loads (Mirrokni et al., 2018, arXiv:1608.01350). Requests of no
    conversation go round robin.

    Args:
        load_percent: Most requests a replica may hold, in percent of the mean.
        wrapped: Whether HAProxy is started by `wrapper`; else only the header names a conversation.
    """
    name = _CONVERSATION if wrapped else _HEADER
    return f"hash {name}\n    hash-type consistent\n    hash-balance-factor {load_percent}"


def error_page() -> bytes:
    """Return the whole HTTP response for a request that no replica can answer."""
    error = Unavailable("No replica can answer now. Try again.")
    body = json.dumps(errors.body(error)).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **errors.headers(error),
    }
    head = [f"HTTP/1.1 {error.status} Service Unavailable"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + body
