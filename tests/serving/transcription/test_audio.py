"""What is uploaded becomes samples, or an error; it never reads another file."""

import contextlib
import io
import wave
from pathlib import Path

import numpy as np
import pytest

from serving.errors import BodyTooLarge, InvalidRequest
from serving.transcription.audio import RATE, Pcm, decode


def tone(seconds: float, rate: int = 8000, channels: int = 2) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    sound = (np.sin(2 * np.pi * 440 * times) * 8000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(channels)
        made.setsampwidth(2)
        made.setframerate(rate)
        made.writeframes(np.repeat(sound, channels).tobytes())
    return file.getvalue()


def test_samples_are_of_one_channel_at_whisper_s_rate() -> None:
    samples = decode(io.BytesIO(tone(0.5)), 10)
    assert samples.size == pytest.approx(RATE * 0.5, rel=0.02)
    assert samples.dtype == np.float32
    assert 0.2 < float(np.abs(samples).max()) < 0.3
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) * RATE / samples.size == pytest.approx(440, abs=5)


def test_a_recording_that_is_too_long_is_refused_whatever_its_head_says() -> None:
    with pytest.raises(BodyTooLarge, match="longer than 1 s"):
        decode(io.BytesIO(tone(1.2)), 1)
    lying = bytearray(tone(1.2))
    lying[40:44] = (100).to_bytes(4, "little")  # the length of its data
    with contextlib.suppress(BodyTooLarge):
        assert decode(io.BytesIO(bytes(lying)), 1).size <= RATE


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_recording_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(io.BytesIO(content), 10)
    assert refused.value.param == "file"


def test_a_list_of_files_is_no_recording(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(tone(0.2))
    lists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
    )
    for text in lists:
        with pytest.raises(InvalidRequest):
            decode(io.BytesIO(text.encode()), 10)


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_spoken_samples_come_at_whisper_s_rate(rate: int) -> None:
    times = np.arange(rate) / rate
    sound = (np.sin(2 * np.pi * 440 * times) * 8000).astype("<i2")
    said = Pcm(sound.tobytes(), rate)
    samples = said.samples()
    assert said.seconds == 1
    assert samples.size == pytest.approx(RATE, abs=32)
    assert samples.dtype == np.float32
    assert 0.23 < float(np.abs(samples).max()) < 0.26
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=1)
    assert Pcm(b"", rate).samples().size == 0
