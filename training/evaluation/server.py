"""The server that the evaluation asks: the one that runs, or a private one for the while.

A private server is an ordinary `switchboard serve` on a free port, as a child process that ends
when this process does, however this process ends.
"""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from serving import endpoints, parent_process, ports
from serving.config.settings import Settings
from training.errors import EvaluationFailed

logger = logging.getLogger(__name__)

READY_WITHIN_S = 300.0
BUSY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0


@asynccontextmanager
async def running(url: str | None, config: Path, settings: Settings) -> AsyncIterator[str]:
    """Yield the address of a server that answers, without /v1.

    Args:
        url: A server that must be running; None tries the configured one, then a private one.
        config: The configuration file, for a private server.
        settings: Its content.

    Raises:
        EvaluationFailed: `url` does not answer, or a private server does not start.
    """
    address = (url or settings.url).rstrip("/")
    if url is not None:
        await require(url, config)
    if url is not None or await _ready(address):
        yield address
        return
    logger.info(f"No server answers on {address}; starting a private one.")
    port = ports.free()
    process = await asyncio.create_subprocess_exec(
        *parent_process.command(
            [
                *(sys.executable, "-P", "-m", "serving.cli", "serve", str(config)),
                *("--port", str(port)),
            ]
        )
    )
    try:
        address = f"http://127.0.0.1:{port}"
        await _wait_ready(address, process)
        yield address
    finally:
        await parent_process.stop(process, STOP_WITHIN_S)


async def require(url: str, config: Path) -> None:
    """Check that a server is ready; one that listens but is too busy to say so is waited for.

    Raises:
        EvaluationFailed: Nothing listens there, or it did not become ready in time.
    """
    deadline = time.monotonic() + BUSY_WITHIN_S
    while not await _ready(url.rstrip("/")):
        if time.monotonic() > deadline or not await _listens(url):
            raise EvaluationFailed(
                f"no server is ready on {url}. Start one (switchboard serve {config}), or leave "
                "--url out to have a private one started."
            )
        await asyncio.sleep(0.5)


async def promote(url: str, version: str, api_key: str | None) -> dict[str, Any]:
    """Make a version live and return the rollout.

    Raises:
        EvaluationFailed: The server refuses or does not answer.
    """
    try:
        return await rollout(url, version, "promote", api_key)
    except EvaluationFailed as exc:
        raise EvaluationFailed(
            f"{version} passed its gate but was not promoted: {exc.message}. The version stays a "
            f"candidate: switchboard adapters promote {version}"
        ) from exc


async def rollout(
    url: str, name: str, action: str, api_key: str | None, **body: Any
) -> dict[str, Any]:
    """Have the server change a route, and return the rollout when every replica has.

    Args:
        url: The server's address, without /v1.
        name: A version; for a rollback the line of business.
        action: promote, canary or rollback.
        api_key: A key with the role admin.
        body: What the endpoint takes.

    Raises:
        EvaluationFailed: The server refuses or does not answer.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    path = f"{url.rstrip('/')}{endpoints.ADAPTERS}/{name}/{action}"
    try:
        async with httpx.AsyncClient(timeout=300) as client:
            answer = await client.post(path, headers=headers, json=body)
    except httpx.TransportError as exc:
        raise EvaluationFailed(f"no server answers on {url} to {action} {name}") from exc
    if not answer.is_success:
        raise EvaluationFailed(f"the server answers {answer.status_code}: {_message(answer)}")
    done: dict[str, Any] = answer.json()
    return done


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]


async def _ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            return (await client.get(f"{url}/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def _listens(url: str) -> bool:
    address = httpx.URL(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(address.host, port)
    except TimeoutError:
        return True
    except OSError:
        return False
    writer.close()
    return True


async def _wait_ready(url: str, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while not await _ready(url):
                if process.returncode is not None:
                    raise EvaluationFailed(
                        f"the private server ended with status {process.returncode}; "
                        "its messages are above"
                    )
                await asyncio.sleep(0.5)
    except TimeoutError as exc:
        raise EvaluationFailed(
            f"the private server was not ready within {READY_WITHIN_S:.0f} s"
        ) from exc
