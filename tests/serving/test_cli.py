"""The command line: what a key covers, and where keys go."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from serving import auth
from serving.store.database import Database
from tests.e2e import switchboard


class Server:
    """An HTTP server that notes what it is asked and answers as it is told."""

    def __init__(self, location: str | None = None) -> None:
        heard: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append((self.path, self.headers.get("authorization")))
                body = json.dumps({"data": []}).encode()
                self.send_response(307 if location else 200)
                if location:
                    self.send_header("location", location)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.heard = heard
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def other() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def listed(url: str, **environment: str) -> switchboard.Done:
    mine = {"SWITCHBOARD_URL": url, "SWITCHBOARD_API_KEY": "sb-mine"} | environment
    return switchboard.run("adapters", "list", environment=mine)


@pytest.mark.parametrize("there", [{}, {"NO_PROXY": "intern.example"}, {"no_proxy": "a.example"}])
def test_this_machine_is_asked_directly(other: Server, there: dict[str, str]) -> None:
    server = Server()
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), other.url)
    done = listed(server.url, **proxy, **there)
    server.close()
    assert done.returncode == 0, done.stderr
    assert [key for _, key in server.heard] == ["Bearer sb-mine"]
    assert other.heard == [], "the proxy has seen the key"


def test_a_key_goes_to_no_host_but_the_configured_one(other: Server) -> None:
    server = Server(location=f"{other.url}/v1/adapters")
    done = listed(server.url)
    server.close()
    assert done.returncode == 1
    assert "307" in done.stderr
    assert other.heard == []


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    store = {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"}
    path.write_text(yaml.safe_dump({"model": "hub/id", "lobs": {"care": {}}, "store": store}))
    return path


def created(config: Path, *options: str) -> switchboard.Done:
    command = ("keys", "create", "--name", "n", "--role", "service", "--config", str(config))
    return switchboard.run(*command, *options, environment={})


def kept(config: Path) -> list[auth.ApiKey]:
    url = yaml.safe_load(config.read_text())["store"]["url"]

    async def read() -> list[auth.ApiKey]:
        db = Database(url)
        await db.open()
        try:
            return await auth.list_keys(db)
        finally:
            await db.close()

    return asyncio.run(read())


@pytest.mark.parametrize("options", [(), ("--all", "--lob", "care")])
def test_a_key_says_what_it_covers(config: Path, options: tuple[str, ...]) -> None:
    done = created(config, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--lob NAME" in done.stderr
    assert kept(config) == []


@pytest.mark.parametrize(
    ("options", "lobs", "lifetime_s"),
    [
        (("--lob", "care"), ("care",), None),
        (("--all", "--expires", "90d"), ("*",), 90 * 86_400),
        (("--all", "--expires", "1.5h"), ("*",), 5_400),
    ],
)
def test_a_key_covers_and_lasts_as_asked(
    config: Path, options: tuple[str, ...], lobs: tuple[str, ...], lifetime_s: float | None
) -> None:
    done = created(config, *options)
    assert done.stdout.startswith("sb-"), done.stderr
    (key,) = kept(config)
    assert key.lobs == lobs
    if lifetime_s is None:
        assert key.expires_at is None
        assert "without end" in done.stderr
    else:
        assert key.expires_at == pytest.approx(time.time() + lifetime_s, abs=60)


@pytest.mark.parametrize("lifetime", ["90", "d", "0d", "-1d", "90days"])
def test_a_lifetime_without_a_unit_is_refused(config: Path, lifetime: str) -> None:
    done = created(config, "--all", f"--expires={lifetime}")
    assert done.returncode == 1
    assert "such as 90d" in done.stderr


def test_what_the_command_writes_is_for_its_user(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        file = tmp_path / "new.yaml"
        wanted = ("init", "--model", "m/m", "--lob", "care", str(file))
        assert switchboard.run(*wanted, environment={}).returncode == 0
        assert file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
