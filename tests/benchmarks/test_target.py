import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import target as target_module
from target import Target

from serving import ports
from tests.waiting import PATIENCE_S, until

SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setattr(target_module, "SETTLE_S", 0)
    port = ports.free()
    command = [sys.executable, "-c", SERVER, str(port)]
    made = Target("stub", [command], f"http://127.0.0.1:{port}", "base")
    made.start(tmp_path / "log")
    yield made
    made.stop()


def statuses(server: Target) -> set[str]:
    return {process.status() for process in server.tree()}


def test_a_paused_server_is_stopped_with_its_children_and_answers_again_when_resumed(
    server: Target,
):
    assert len(server.tree()) == 2
    server.pause()
    # A signal is acted on a moment after it is sent.
    until(lambda: statuses(server) == {psutil.STATUS_STOPPED}, "the server runs on")
    with pytest.raises(httpx.TimeoutException):
        httpx.post(server.url, json={}, timeout=0.5)
    server.resume()
    assert psutil.STATUS_STOPPED not in statuses(server)
    assert httpx.post(server.url, json={}).is_success


def test_stopping_a_paused_server_leaves_no_process(server: Target):
    tree = server.tree()
    server.pause()
    server.stop()
    _, alive = psutil.wait_procs(tree, timeout=PATIENCE_S)
    assert alive == []


def test_the_engine_is_no_part_of_the_overhead(server: Target, monkeypatch: pytest.MonkeyPatch):
    _, whole = server.overhead()
    monkeypatch.setattr(target_module, "ENGINE", (sys.executable,))  # both processes
    assert whole > 0
    assert server.overhead() == (0, 0)


def test_a_server_that_ends_is_reported_with_its_last_words(tmp_path: Path):
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    failing = Target("stub", [command], f"http://127.0.0.1:{ports.free()}", "base")
    with pytest.raises(RuntimeError, match="no such model"):
        failing.start(tmp_path / "log")
    failing.stop()
