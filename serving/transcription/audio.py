"""A recording's samples, in bounded memory, whatever was uploaded.

FFmpeg (by PyAV) reads many forms, some of which are lists of other files. Only forms that hold
their own sound are read, and no address is followed. How long a recording is stands in its head,
which may lie; so what is decoded is counted.
"""

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from serving.errors import BodyTooLarge, InvalidRequest

RATE = 16_000
"""Samples a second, as Whisper hears."""
FORMS = ("aac", "flac", "m4a", "matroska", "mov", "mp3", "mp4", "ogg", "wav", "webm")

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pcm:
    """Sound of one channel as it is spoken: 16-bit little-endian samples.

    Args:
        data: Two bytes a sample.
        rate: Samples a second.
    """

    data: bytes
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.data) / (2 * self.rate)

    def samples(self) -> Samples:
        """Return its (n,) samples in [-1, 1] at Whisper's rate."""
        given = np.frombuffer(self.data, "<i2")
        if self.rate != RATE and given.size:
            given = _at_whispers_rate(given, self.rate)
        return given.astype(np.float32) / np.float32(1 << 15)


def decode(source: IO[bytes], most_s: float) -> Samples:
    """Return a recording's (n,) samples in [-1, 1], mixed to one channel.

    Args:
        source: The upload.
        most_s: Seconds that it may have.

    Raises:
        InvalidRequest: It is no recording that can be read.
        BodyTooLarge: It is longer.
    """
    import av

    most, count = int(most_s * RATE), 0
    parts: list[npt.NDArray[np.int16]] = []
    options = {"format_whitelist": ",".join(FORMS), "protocol_whitelist": "none"}
    try:
        with av.open(source, mode="r", options=options, metadata_errors="ignore") as container:
            for part in _resampled(container):
                count += part.size
                if count > most:
                    raise BodyTooLarge(f"The recording is longer than {most_s:g} s.", param="file")
                parts.append(part)
    except (av.FFmpegError, ValueError, IndexError) as exc:
        raise InvalidRequest(
            f"`file` cannot be read as a recording; these can: {', '.join(FORMS)}.", param="file"
        ) from exc
    if not count:
        raise InvalidRequest("`file` holds no sound.", param="file")
    return np.concatenate(parts).astype(np.float32) / np.float32(1 << 15)


def _at_whispers_rate(given: npt.NDArray[np.int16], rate: int) -> npt.NDArray[np.int16]:
    import av

    resample = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    frame = av.AudioFrame.from_ndarray(given.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    made = [*resample.resample(frame), *resample.resample(None)]
    return np.concatenate([part.to_ndarray().reshape(-1) for part in made])


def _resampled(container: Any) -> Any:
    import av

    sound = container.streams.audio[0]
    resample = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    for frame in container.decode(sound):
        frame.pts = None  # stamps of damaged files are no times
        for made in resample.resample(frame):
            yield made.to_ndarray().reshape(-1)
    for made in resample.resample(None):
        yield made.to_ndarray().reshape(-1)
