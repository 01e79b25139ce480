"""A stand-in for the server: HTTP only, so that the pipeline's own faults can be provoked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Stub:
    """What the server answers, and what it was asked.

    Args:
        answer: (model, last message) to the text.
        answer_status: Status of answers.
        promote_status: Status of a promotion, canary or rollback.
        busy: How often /ready answers 503 first.
    """

    answer: Callable[[str, str], str]
    promote_status: int = 200
    answer_status: int = 200
    busy: int = 0
    url: str = ""
    models: list[str] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    promoted: list[str] = field(default_factory=list)
    rollouts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            if self.path == "/ready" and stub.busy:
                stub.busy -= 1
                self._send(503, {})
                return
            self._send(200 if self.path == "/ready" else 404, {})

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            content = self.rfile.read(length)
            stub.keys.add(self.headers.get("authorization"))
            if self.path.startswith("/v1/adapters/"):
                stub.rollouts.append((self.path[len("/v1/adapters/") :], json.loads(content)))
                if self.path.endswith("/promote"):
                    stub.promoted.append(self.path.split("/")[-2])
                error = {"error": {"message": "a replica is out of memory"}}
                done = {"object": "rollout", "seconds": 0.1, "replicas": 1}
                self._send(stub.promote_status, done if stub.promote_status == 200 else error)
                return
            body = json.loads(content)
            stub.models.append(body["model"])
            if stub.answer_status != 200:
                self._send(stub.answer_status, {"error": {"message": "not now"}})
                return
            text = stub.answer(body["model"], body["messages"][-1]["content"])
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            self._send(
                200,
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": body["model"],
                    "choices": [choice],
                    "usage": usage,
                },
            )

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
