import asyncio
import logging
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from serving import ports
from serving.config.settings import Settings
from tests.training.execution.test_local import gone
from tests.training.stub_server import Stub, serving
from training.errors import EvaluationFailed
from training.evaluation import server


@pytest.fixture
def settings() -> Settings:
    port = ports.free()
    return Settings.model_validate({"model": "m", "lobs": {"care": {}}, "http": {"port": port}})


@pytest.fixture
def fake_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `serving.cli` in the child's way that answers /ready and writes its pid."""
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").touch()
    (tmp_path / "serving" / "cli.py").write_text(
        textwrap.dedent(
            """
            import os, sys
            from http.server import BaseHTTPRequestHandler, HTTPServer
            from pathlib import Path

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.end_headers()

            assert sys.argv[1] == "serve"
            Path(sys.argv[2]).write_text(str(os.getpid()))
            if Path(sys.argv[2]).name == "fails":
                sys.exit(7)
            port = int(sys.argv[sys.argv.index("--port") + 1])
            HTTPServer(("127.0.0.1", port), Handler).serve_forever()
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_a_running_server_is_used(settings: Settings) -> None:
    with serving(Stub(lambda *_: "")) as stub:
        async with server.running(f"{stub.url}/", Path("c"), settings) as url:
            assert url == stub.url


async def test_a_named_server_must_run(settings: Settings) -> None:
    with pytest.raises(EvaluationFailed, match=r"switchboard serve c\.yaml"):
        async with server.running("http://127.0.0.1:9", Path("c.yaml"), settings):
            pass


async def test_a_busy_server_is_waited_for(settings: Settings) -> None:
    with serving(Stub(lambda *_: "", busy=2)) as stub:
        await server.require(stub.url, Path("c"))
        assert stub.busy == 0


async def test_a_private_server_is_started_and_stopped(
    settings: Settings, fake_serve: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "training")
    async with server.running(None, fake_serve / "pid", settings) as url:
        assert url.startswith("http://127.0.0.1:")
        pid = int((fake_serve / "pid").read_text())
        os.kill(pid, 0)
    assert gone(pid)
    assert caplog.messages == [f"No server answers on {settings.url}; starting a private one."]


async def test_a_private_server_that_fails_to_start_is_an_error(
    settings: Settings, fake_serve: Path
) -> None:
    with pytest.raises(EvaluationFailed, match="ended with status 7"):
        async with server.running(None, fake_serve / "fails", settings):
            pass


async def test_a_private_server_ends_when_its_parent_is_killed(
    settings: Settings, fake_serve: Path
) -> None:
    root = Path(__file__).parents[3]
    code = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from serving.config.settings import Settings
        from training.evaluation import server as endpoint

        async def main():
            settings = Settings.model_validate_json(sys.argv[3])
            async with endpoint.running(None, Path(sys.argv[2]), settings):
                print("ready", flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code, str(root), str(fake_serve / "pid"), settings.model_dump_json()),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    assert gone(int((fake_serve / "pid").read_text()))
