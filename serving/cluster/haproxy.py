"""What HAProxy needs beyond the configuration that Ray Serve writes for it.

Ray starts HAProxy through a program of ours, a few lines of shell, which

- lets HAProxy ask another replica where one died, or could not answer, before its answer began,
  but only for requests that may be asked twice: inference, and feedback, which is stored once.
  Ray's own setting would also repeat a rollback, which goes one step further each time;
- answers 503 with Retry-After in OpenAI's error shape where no replica can (Ray's page is a 500);
- lets HAProxy listen on an IPv6 address, while it reaches the replicas of its machine over IPv4;
- makes HAProxy die with the actor that watches it, so that an orphan does not hold the port.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from serving import errors
from serving.errors import Unavailable

REPEATABLE = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/suggestions",
    "/v1/summaries",
    "/v1/feedback",
)
RETRY_ON = "conn-failure empty-response 503"
"""HAProxy's `retry-on`: a replica that refuses, hangs up before it says anything, or cannot answer
now: its engine has died, or it is stopping."""
INSIDE = "127.0.0.1"
"""What replicas bind where HAProxy listens on IPv6: Ray's HAProxy finds them at this address."""
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
  grep -q disable-l7-retry "$config" || sed -i {listen}-e {rules} "$config"
  cp {page} "$(dirname "$config")/500.http"
fi
exec {command} "$@"
"""


def wrapper(
    folder: Path, binary: str, repeatable: Iterable[str] = REPEATABLE, *, host: str = ""
) -> Path:
    """Write the program that Ray is to start as HAProxy.

    Args:
        folder: Where to write it.
        binary: The real HAProxy.
        repeatable: Paths whose requests may be asked of another replica.
        host: Where HAProxy is to listen; an IPv6 address replaces the one that Ray writes.
    """
    page = folder / "503.http"
    page.write_bytes(error_page())
    asked = f"{{ path {' '.join(repeatable)} }}"
    tasks = "{ path /v1/suggestions /v1/summaries }"
    rules = [
        # Only a request that HAProxy holds whole can be sent again.
        f"http-request disable-l7-retry unless {asked} or METH_GET",
        f"http-request wait-for-body time {BODY_S}s if METH_POST {asked}",
        # A conversation is named by a header, or by a field of a task's body.
        f"http-request set-{_CONVERSATION} {_HEADER}",
        f"http-request set-{_CONVERSATION} req.body,json_query('$.conversation_id') "
        f"if {tasks} !{{ {_CONVERSATION} -m found }}",
    ]
    command = [binary]
    if setpriv := shutil.which("setpriv"):
        command = [setpriv, "--pdeathsig", "KILL", "--", binary]
    listen = ""
    if ":" in host:  # with :: a connection over IPv4 is taken too
        both = " v4v6" if host == "::" else ""
        place = f"/^{_FRONTEND}$/,/^ *bind/"
        change = f"s/^\\( *bind\\) {re.escape(INSIDE)}:\\([0-9]*\\)/\\1 {host}:\\2{both}/"
        listen = f"-e {shlex.quote(f'{place} {change}')} "
    script = _SCRIPT.format(
        listen=listen,
        rules=shlex.quote(f"/^{_FRONTEND}$/a\\" + "\\n".join(f"    {r}" for r in rules)),
        page=shlex.quote(str(page)),
        command=shlex.join(command),
    )
    path = folder / "haproxy"
    path.write_text(script)
    path.chmod(0o755)
    return path


def inside(host: str, *, wrapped: bool) -> str:
    """The address that Ray Serve is told, which the replicas bind and HAProxy asks them at."""
    return INSIDE if wrapped and ":" in host else host


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
