"""The guides' programs run as written; what answers them here speaks OpenAI's form."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

GUIDE = (Path(__file__).parents[1] / "docs" / "guides" / "tools.md").read_text(encoding="utf-8")


def calls(arguments: str) -> dict[str, Any]:
    function = {"name": "order_status", "arguments": arguments}
    return {"tool_calls": [{"id": "call-1", "type": "function", "function": function}]}


class Answers(ThreadingHTTPServer):
    """Answers with these messages, the last again and again; `asked` is what it was sent."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages, self.asked = list(messages), list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        left = self.server.messages
        message = left.pop(0) if len(left) > 1 else left[0]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"} | message}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": asked["model"]}
        body = json.dumps(answer | {"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def run(*messages: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    (program,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    with Answers(*messages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        code = program.replace("http://localhost:8000", f"http://127.0.0.1:{server.server_port}")
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "SWITCHBOARD_API_KEY": "sb-x", "NO_PROXY": "127.0.0.1"},
        )
        server.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), server.asked


def results(asked: list[dict[str, Any]]) -> Iterator[str]:
    return (m["content"] for m in asked[-1]["messages"] if m["role"] == "tool")


def test_what_the_model_calls_is_run_and_told() -> None:
    printed, asked = run(calls('{"order": "A-48213"}'), {"content": "It was shipped."})
    assert printed == "It was shipped."
    assert list(results(asked)) == ["shipped on Monday"]
    assert [len(one["messages"]) for one in asked] == [1, 3]


@pytest.mark.parametrize("arguments", ["{", "[]", "{}"])
def test_arguments_that_make_no_sense_are_told_and_not_run(arguments: str) -> None:
    _, asked = run(calls(arguments), {"content": "Sorry."})
    assert list(results(asked)) == ["The arguments are not what order_status takes."]


def test_a_model_that_calls_without_end_is_stopped() -> None:
    _, asked = run(calls('{"order": "B-1"}'))
    assert len(asked) == 4
    assert set(results(asked)) == {"There is no such order."}
