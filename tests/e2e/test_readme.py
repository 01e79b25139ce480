"""The README's examples run as written."""

import os
import re
import subprocess
import sys

import pytest

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
    assert len(programs) == 1
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-c", here(program, server)],
            capture_output=True,
            text=True,
            env=environment(server),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


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
