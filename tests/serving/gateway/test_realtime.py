"""/v1/realtime by OpenAI's client over a real websocket; the model and the speech are real."""

import asyncio
import base64
import contextlib
import importlib
import io
import json
import wave
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
import openai
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving import auth
from serving.observability import metrics
from serving.transcription.audio import decode
from tests import speech
from tests.serving.gateway.conftest import Site
from tests.waiting import until_async

SAID = "My parcel has not arrived. I would like my money back please."
PATH = "/v1/realtime?intent=transcription"
ITEM = "conversation.item.input_audio_transcription"


@pytest.fixture
def sections(request: pytest.FixtureRequest) -> dict[str, Any]:
    if not hasattr(request, "param"):
        return {}
    return {"transcription": {"model": str(speech.model()), "served_name": "tiny"} | request.param}


def with_model(**fields: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sections", [fields], indirect=True)


@pytest.fixture
async def here(site: Site) -> AsyncIterator[str]:
    """The replica, listening as Serve has it listen."""
    config = uvicorn.Config(site.gateway, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until_async(lambda: server.started, "the server listens")
    (port,) = {one.getsockname()[1] for each in server.servers for one in each.sockets}
    yield f"127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def key(site: Site, roles: list[str] | None = None) -> str:
    made, _ = await auth.create(site.db, name="k", roles=roles or ["service"], lobs=["care"])
    return made


async def opened(site: Site, here: str, path: str = PATH, **options: Any) -> Any:
    headers = {"authorization": f"Bearer {await key(site)}"}
    return await connect(f"ws://{here}{path}", additional_headers=headers, **options)


async def refused(address: str, **options: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as found:
        await connect(address, **options)
    response = found.value.response
    error: dict[str, Any] = json.loads(response.body or b"")["error"]
    return response.status_code, error


async def send(socket: Any, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def event(socket: Any, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 120))
    assert found["type"] == kind, found
    return found


def sound(seconds: float, rate: int = 24_000) -> str:
    return base64.b64encode(bytes(2 * int(seconds * rate))).decode()


@pytest.fixture(scope="module")
def spoken() -> bytes:
    """What is said, as 16-bit samples at 16 kHz."""
    speech.model()
    if not (speech.FOLDER / "espeakng_loader").is_dir():
        pytest.skip("there is no voice: make speech-model")
    with speech.importable():
        made: bytes = importlib.import_module("voice").english().say(SAID)
    samples = decode(io.BytesIO(made), 60) * (1 << 15)
    return samples.clip(-32768, 32767).astype("<i2").tobytes()


def reached(parts: list[float], count: int) -> bool:
    return len(parts) >= count


def wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, 16_000, 0, "NONE", ""))
        made.writeframes(samples)
    return file.getvalue()


@with_model(partial_every_s=0.75)
async def test_what_is_said_comes_while_it_is_said(
    site: Site, here: str, spoken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard_parts: list[float] = []
    transcribe = site.transcriber.transcribe

    async def noted(source: Any, options: Any) -> Any:
        made = await transcribe(source, options)
        heard_parts.append(made.seconds)
        return made

    monkeypatch.setattr(site.transcriber, "transcribe", noted)
    before = metrics.REALTIME_SECONDS._value.get()
    client = openai.AsyncOpenAI(
        api_key=await key(site), base_url=f"http://{here}/v1", max_retries=0
    )
    seen: list[Any] = []
    early = 0
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as voice:
        created = await voice.recv()
        assert created.type == "session.created"
        asked = {"transcription": {"model": "tiny", "language": "en"}}
        form = {"type": "audio/pcm", "rate": 16_000}
        session: Any = {"type": "transcription", "audio": {"input": asked | {"format": form}}}
        await voice.session.update(session=session)
        updated: Any = await voice.recv()
        assert updated.type == "session.updated"
        assert updated.session.audio.input.transcription.language == "en"

        async def heard() -> None:
            async for one in voice:
                seen.append(one)
                if one.type == f"{ITEM}.completed":
                    return

        hearing = asyncio.create_task(heard())
        piece, parts = 3_200, 0  # 100 ms
        for start in range(0, len(spoken), piece):
            part = base64.b64encode(spoken[start : start + piece]).decode()
            await voice.input_audio_buffer.append(audio=part)
            if (start // piece) % 8 == 7:  # 800 ms: the model keeps pace
                parts += 1
                await until_async(partial(reached, heard_parts, parts), "the part is heard")
        await until_async(lambda: any("delta" in one.type for one in seen), "a partial result")
        early = len(seen)
        await voice.input_audio_buffer.commit()
        await asyncio.wait_for(hearing, 120)
        async with openai.AsyncOpenAI(
            api_key=client.api_key, base_url=client.base_url, max_retries=0
        ) as other:
            file = ("said.wav", wav(spoken))
            whole = await other.audio.transcriptions.create(model="tiny", file=file, language="en")
    deltas = [one for one in seen if one.type == f"{ITEM}.delta"]
    (committed,) = [one for one in seen if one.type == "input_audio_buffer.committed"]
    final = seen[-1]
    assert "".join(one.delta for one in deltas) == final.transcript
    assert early >= 1
    assert {one.item_id for one in deltas} == {committed.item_id} == {final.item_id}
    for word in ("my parcel", "not", "my money back"):
        assert word in final.transcript.lower()
        assert word in whole.text.lower()
    assert final.usage.seconds == pytest.approx(len(spoken) / 32_000, abs=0.01)
    now = metrics.REALTIME_SECONDS._value.get()
    assert now - before == pytest.approx(len(spoken) / 32_000)
    assert await site.stored() == []


@with_model()
async def test_turns_follow_each_other_and_the_older_form_is_answered(
    site: Site, here: str
) -> None:
    async with await opened(site, here) as socket:
        await event(socket, "session.created")
        older = {"input_audio_format": "pcm16", "input_audio_transcription": {"language": "en"}}
        await send(socket, "transcription_session.update", session=older)
        await event(socket, "transcription_session.updated")
        await send(socket, "input_audio_buffer.append", audio=sound(0.3))
        await send(socket, "input_audio_buffer.clear")
        await event(socket, "input_audio_buffer.cleared")
        items = []
        for _ in range(2):
            await send(socket, "input_audio_buffer.append", audio=sound(0.3))
            await send(socket, "input_audio_buffer.commit")
            committed = await event(socket, "input_audio_buffer.committed")
            items.append((committed["item_id"], committed["previous_item_id"]))
            while True:
                answer = json.loads(await asyncio.wait_for(socket.recv(), 120))
                if answer["type"] == f"{ITEM}.completed":
                    break
                assert answer["type"] == f"{ITEM}.delta"
            assert answer["item_id"] == committed["item_id"]
            assert answer["usage"]["seconds"] == 0.3
        assert [before for _, before in items] == [None, items[0][0]]


@with_model(max_turn_s=1.0, partial_every_s=100, max_bytes=200_000)
async def test_a_wrong_event_is_answered_by_its_id_and_loses_nothing(site: Site, here: str) -> None:
    async with await opened(site, here) as socket:
        await event(socket, "session.created")
        await send(socket, "input_audio_buffer.append", audio=sound(0.5))
        model = {"audio": {"input": {"transcription": {"model": "other"}}}}
        language = {"audio": {"input": {"transcription": {"language": "klingon"}}}}
        rate = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}
        wrong: list[tuple[dict[str, Any], str, str | None]] = [
            ({"type": "input_audio_buffer.append", "audio": "!"}, "invalid_request", "audio"),
            (
                {"type": "input_audio_buffer.append", "audio": sound(0.6)},
                *("body_too_large", "audio"),
            ),
            (
                {"type": "input_audio_buffer.append", "audio": "A" * 200_000},
                *("body_too_large", None),
            ),
            ({"type": "response.create"}, "invalid_request", "type"),
        ]
        for session, code, param in (
            (model, "not_found", "model"),
            (language, "invalid_request", "language"),
            (rate, "invalid_request", "session.audio.input.format.rate"),
        ):
            said = {"type": "transcription", **session}
            wrong.append(({"type": "session.update", "session": said}, code, param))
        for n, (sent, code, param) in enumerate(wrong):
            await socket.send(json.dumps(sent | {"event_id": f"e{n}"}))
            answer = (await event(socket, "error"))["error"]
            assert (answer["code"], answer["param"]) == (code, param), sent
            assert answer["event_id"] == (f"e{n}" if len(json.dumps(sent)) < 200_000 else None)
        await socket.send(b"\x00\x01")
        await event(socket, "error")
        await send(socket, "input_audio_buffer.commit")
        await event(socket, "input_audio_buffer.committed")
        await send(socket, "input_audio_buffer.commit", event_id="again")
        answers = []
        while len(answers) < 2:
            answer = json.loads(await asyncio.wait_for(socket.recv(), 120))
            if answer["type"] != f"{ITEM}.delta":
                answers.append(answer)
        by_type = {answer["type"]: answer for answer in answers}
        assert by_type["error"]["error"]["event_id"] == "again"
        assert by_type[f"{ITEM}.completed"]["usage"]["seconds"] == 0.5


@with_model()
async def test_who_may_not_is_refused_before_it_is_accepted(site: Site, here: str) -> None:
    address = f"ws://{here}{PATH}"
    status, error = await refused(address)
    assert (status, error["code"]) == (401, "invalid_api_key")
    unknown = {"authorization": "Bearer sb-unknown"}
    assert (await refused(address, additional_headers=unknown))[0] == 401
    reviewer = {"authorization": f"Bearer {await key(site, ['reviewer'])}"}
    status, error = await refused(address, additional_headers=reviewer)
    assert (status, error["code"]) == (403, "permission_denied")
    mine = {"authorization": f"Bearer {await key(site)}"}
    for path, expected, param in (
        ("/v1/realtime", 400, "intent"),
        ("/v1/realtime?intent=conversation", 400, "intent"),
        (f"{PATH}&model=other", 404, "model"),
        ("/v1/models", 404, None),
    ):
        status, error = await refused(f"ws://{here}{path}", additional_headers=mine)
        assert (status, error["param"]) == (expected, param)
    status, _ = await refused(address, additional_headers=mine, origin="https://evil.example")
    assert status == 403
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.get(PATH)
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


async def test_without_a_model_it_is_404(site: Site, here: str) -> None:
    mine = {"authorization": f"Bearer {await key(site)}"}
    status, error = await refused(f"ws://{here}{PATH}", additional_headers=mine)
    assert status == 404
    assert "`transcription` is not configured" in error["message"]


@with_model(max_sessions=1)
async def test_a_page_names_its_key_among_the_subprotocols_and_too_many_are_429(
    site: Site, here: str
) -> None:
    closed = metrics.REALTIME_SESSIONS.labels("closed")
    before = closed._value.get()
    mine = await key(site)
    protocols: Any = ["realtime", f"openai-insecure-api-key.{mine}"]
    options = {"subprotocols": protocols, "origin": f"http://{here}"}
    async with connect(f"ws://{here}{PATH}", **options) as socket:
        await event(socket, "session.created")
        assert socket.subprotocol == "realtime"
        status, error = await refused(f"ws://{here}{PATH}", **options)
        assert (status, error["code"]) == (429, "overloaded")
    await until_async(lambda: closed._value.get() > before, "the session is over")
    async with connect(f"ws://{here}{PATH}", **options) as socket:
        await event(socket, "session.created")


async def rest(socket: Any) -> list[str]:
    """The kinds of the events that come before the end."""
    kinds = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            kinds.append(json.loads(await asyncio.wait_for(socket.recv(), 120))["type"])
    return kinds


@with_model(idle_s=0.2)
async def test_who_sends_nothing_is_closed(site: Site, here: str) -> None:
    async with await opened(site, here) as socket:
        await event(socket, "session.created")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 60)
        assert (socket.close_code, socket.close_reason) == (1000, "Nothing was sent.")


@with_model(partial_every_s=100)
async def test_a_stopping_server_ends_the_turn_and_then_the_session(site: Site, here: str) -> None:
    async with await opened(site, here) as between, await opened(site, here) as during:
        for socket in (between, during):
            await event(socket, "session.created")
        await send(during, "input_audio_buffer.append", audio=sound(0.3))
        await send(during, "input_audio_buffer.append", audio="!")
        await event(during, "error")  # what came before it is there
        draining = asyncio.create_task(site.gateway.drain(60, refuse=True))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(between.recv(), 60)
        assert between.close_code == 1001
        mine = {"authorization": f"Bearer {await key(site)}"}
        assert (await refused(f"ws://{here}{PATH}", additional_headers=mine))[0] == 503
        await send(during, "input_audio_buffer.commit")
        await event(during, "input_audio_buffer.committed")
        assert (await rest(during))[-1] == f"{ITEM}.completed"
        assert during.close_code == 1001
        await draining


@with_model(partial_every_s=100)
async def test_a_turn_that_never_ends_is_cut(site: Site, here: str) -> None:
    async with await opened(site, here) as socket:
        await event(socket, "session.created")
        await send(socket, "input_audio_buffer.append", audio=sound(0.3))
        await send(socket, "input_audio_buffer.append", audio="!")
        await event(socket, "error")
        await site.gateway.drain(0.1, refuse=True)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 60)
        assert socket.close_code == 1001


@with_model()
async def test_a_key_that_is_revoked_ends_its_session_and_turns_count(
    site: Site, here: str
) -> None:
    async with await opened(site, here) as socket:
        await event(socket, "session.created")
        limits = site.gateway.settings.limits
        slow = limits.default_key.model_copy(update={"own_calls_per_minute": 1.0})
        settings = site.gateway.settings.model_copy(
            update={"limits": limits.model_copy(update={"default_key": slow})}
        )
        site.gateway.configure(settings, {})
        codes: list[str] = []
        while "rate_limit_exceeded" not in codes:
            await send(socket, "input_audio_buffer.append", audio=sound(0.2))
            await send(socket, "input_audio_buffer.commit")
            answer = json.loads(await asyncio.wait_for(socket.recv(), 120))
            codes.append(answer.get("error", {}).get("code", ""))
        for one in await auth.list_keys(site.db):
            await auth.revoke(site.db, one.id)
        await site.key_ring.refresh()
        await send(socket, "input_audio_buffer.commit")
        await rest(socket)
        assert socket.close_code == 1008


def test_the_spoken_sentence_is_loud_enough_to_be_heard(spoken: bytes) -> None:
    assert int(np.abs(np.frombuffer(spoken, "<i2").astype(int)).max()) > 3_000
