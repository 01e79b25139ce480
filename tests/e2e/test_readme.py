"""The README's examples run as written."""

import os
import re
import subprocess
import sys

import pytest

from serving import endpoints
from tests.e2e import switchboard
from tests.e2e.server import ROOT, Server

pytestmark = pytest.mark.e2e
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "SWITCHBOARD_API_KEY": server.keys["admin"]}


def here(code: str, server: Server) -> str:
    return code.replace("http://localhost:8000", server.url)


def test_curl_examples_answer(server: Server) -> None:
    commands = [block for block in blocks("bash") if block.startswith("curl")]
    assert len(commands) == 1
    for command in commands:
        done = subprocess.run(
            ["bash", "-ec", here(command, server)],
            capture_output=True,
            text=True,
            env=environment(server),
        )
        assert '"chat.completion"' in done.stdout, done.stdout + done.stderr


def test_python_examples_run(server: Server) -> None:
    programs = blocks("python")
    assert len(programs) == 2
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-c", here(program, server)],
            capture_output=True,
            text=True,
            env=environment(server),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_every_endpoint_is_used_by_the_examples() -> None:
    """OpenAI's client where it has a method, else the path."""
    by_client = {
        endpoints.CHAT_COMPLETIONS: "client.chat.completions.create(",
        endpoints.COMPLETIONS: "client.completions.create(",
        endpoints.RESPONSES: "client.responses.create(",
        endpoints.EMBEDDINGS: "client.embeddings.create(",
        endpoints.TRANSCRIPTIONS: "client.audio.transcriptions.create(",
        endpoints.REALTIME: "client.realtime.connect(",
        endpoints.MODELS: "client.models.list(",
        endpoints.FILES: "client.files.create(",
        endpoints.BATCHES: "client.batches.create(",
        endpoints.FINE_TUNING: "client.fine_tuning.jobs.create(",
    }
    paths = {value for name, value in vars(endpoints).items() if name.isupper()}
    code = "\n".join(blocks("bash") + blocks("python"))
    for path in {path for path in paths if isinstance(path, str)}:
        used = [by_client[path]] if path in by_client else [path, f'"{path.removeprefix("/v1")}"']
        assert any(one in code for one in used), path


def test_make_targets_named_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {"demo", "test", "lint", "setup"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_switchboard_commands_in_the_docs_exist() -> None:
    used = set(re.findall(r"switchboard ((?:adapters |keys )?[a-z]+) ", "\n".join(blocks("bash"))))
    assert {"serve", "train", "adapters promote", "keys create"} <= used
    for command in used:
        done = switchboard.run(*command.split(), "--help", environment={})
        assert done.returncode == 0, command
