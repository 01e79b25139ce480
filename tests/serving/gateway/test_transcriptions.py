"""/v1/audio/transcriptions by OpenAI's client; the model and the speech are real."""

import asyncio
import importlib
import io
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from serving.config.transcription.sections import Transcription
from serving.errors import ConfigError
from serving.transcription import whisper
from serving.transcription.whisper import Transcriber
from tests import speech
from tests.serving.gateway.conftest import Site
from tests.serving.transcription.test_audio import tone
from tests.waiting import until

SAID = "My parcel has not arrived. I would like my money back please."


@pytest.fixture(scope="module")
def folder() -> Path:
    return speech.model()


@pytest.fixture(scope="module")
def recording(folder: Path) -> bytes:
    if not (speech.FOLDER / "espeakng_loader").is_dir():
        pytest.skip("there is no voice: make speech-model")
    with speech.importable():
        made: bytes = importlib.import_module("voice").english().say(SAID)
    return made


@pytest.fixture
def sections(request: pytest.FixtureRequest) -> dict[str, Any]:
    if not hasattr(request, "param"):
        return {}
    return {"transcription": {"model": str(speech.model()), "served_name": "tiny"} | request.param}


with_model = pytest.mark.parametrize("sections", [{}], indirect=True)


async def client(site: Site, roles: list[str] | None = None) -> openai.AsyncOpenAI:
    http = await site.http(roles or ["service"], ["care"])
    key = http.headers.pop("authorization").removeprefix("Bearer ")
    return openai.AsyncOpenAI(api_key=key, base_url="http://sb/v1", http_client=http, max_retries=0)


@with_model
async def test_what_was_said_comes_back_in_every_format(site: Site, recording: bytes) -> None:
    async with await client(site) as mine:
        file = ("said.wav", recording)
        assert "tiny" in [one.id async for one in mine.models.list()]
        plain = await mine.audio.transcriptions.create(model="tiny", file=file, language="en")
        assert "parcel" in plain.text.lower()
        assert "money back" in plain.text.lower()
        verbose = await mine.audio.transcriptions.create(
            model="tiny",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
        assert verbose.language == "en"
        assert verbose.segments
        assert verbose.words
        assert 0 <= verbose.words[0].start < verbose.words[-1].end <= verbose.duration + 0.5
        for form, begin in (("text", ""), ("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n")):
            text: Any = await mine.audio.transcriptions.create(
                model="tiny",
                file=file,
                response_format=form,  # type: ignore[call-overload]
            )
            assert "parcel" in text.lower()
            assert text.startswith(begin)


@with_model
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "other"}, 404, "model"),
        ({"model": None}, 400, "model"),
        ({"language": "klingon"}, 400, "language"),
        ({"response_format": "pdf"}, 400, "response_format"),
        ({"temperature": "2"}, 400, "temperature"),
        ({"temperature": "nan"}, 400, "temperature"),
        ({"stream": "true"}, 400, "stream"),
        ({"timestamp_granularities[]": "letter"}, 400, "timestamp_granularities.0"),
    ],
)
async def test_a_wrong_field_is_named(
    site: Site, fields: dict[str, Any], status: int, param: str
) -> None:
    data = {k: v for k, v in ({"model": "tiny"} | fields).items() if v is not None}
    async with await site.http(["service"], ["care"]) as http:
        sent = {"file": ("a.wav", tone(0.2))}
        answer = await http.post("/v1/audio/transcriptions", data=data, files=sent)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


@with_model
@pytest.mark.parametrize("file", [b"", b"no sound", None])
async def test_what_is_no_recording_is_refused(site: Site, file: bytes | None) -> None:
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post(
            "/v1/audio/transcriptions",
            data={"model": "tiny"},
            files={"file": ("a.wav", file)} if file is not None else {"other": ("b", b"x")},
        )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "file"


@pytest.mark.parametrize("sections", [{"max_audio_s": 0.1}, {"max_bytes": 100}], indirect=True)
async def test_a_recording_that_is_too_large_is_413(site: Site) -> None:
    async with await site.http(["service"], ["care"]) as http:
        sent = {"file": ("a.wav", tone(3.0))}
        answer = await http.post("/v1/audio/transcriptions", data={"model": "tiny"}, files=sent)
    assert answer.status_code == 413, answer.text
    assert answer.json()["error"]["code"] == "body_too_large"


async def test_without_a_model_it_is_404(site: Site) -> None:
    async with await client(site) as mine:
        with pytest.raises(openai.NotFoundError, match="`transcription` is not configured"):
            await mine.audio.transcriptions.create(model="tiny", file=("a.wav", tone(0.1)))


async def test_who_may_not_ask_models_may_not_send_recordings(site: Site) -> None:
    async with await client(site, ["reviewer"]) as mine:
        with pytest.raises(openai.PermissionDeniedError):
            await mine.audio.transcriptions.create(model="tiny", file=("a.wav", tone(0.1)))
    answer = await (await site.http(["service"], ["care"])).post(
        "/v1/audio/transcriptions", headers={"authorization": "Bearer sb-unknown"}
    )
    assert answer.status_code == 401


async def test_more_than_may_wait_is_429_and_late_ones_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, begun = threading.Event(), threading.Event()
    decode = whisper.decode

    def slow(*args: Any) -> Any:
        begun.set()
        assert going.wait(240)
        return decode(*args)

    monkeypatch.setattr(whisper, "decode", slow)
    section = Transcription.model_validate({"model": folder, "max_waiting": 0, "timeout_s": 0.05})
    transcriber = Transcriber(section)
    await transcriber.start()
    first = asyncio.create_task(
        transcriber.transcribe(io.BytesIO(tone(0.2)), whisper.Options(language="en"))
    )
    await asyncio.to_thread(until, begun.is_set, "the first has not begun")
    with pytest.raises(whisper.Overloaded):
        await transcriber.transcribe(io.BytesIO(tone(0.2)), whisper.Options())
    going.set()
    with pytest.raises(whisper.DeadlineExceeded):
        await first
    await transcriber.close()


async def test_a_model_that_cannot_be_loaded_names_its_key(tmp_path: Path) -> None:
    speech.model()
    (tmp_path / "model.bin").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"transcription\.model"):
        await Transcriber(Transcription.model_validate({"model": tmp_path})).start()
