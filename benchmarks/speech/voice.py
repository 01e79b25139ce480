"""Speech from text by eSpeak NG's own library, so that what is said is known.

https://github.com/espeak-ng/espeak-ng, `speak_lib.h`: `espeak_Initialize` (3 is
AUDIO_OUTPUT_SYNCHRONOUS), `espeak_SetSynthCallback`, `espeak_Synth`.
"""

from __future__ import annotations

import ctypes
import io
import wave
from functools import cache
from importlib.util import find_spec
from pathlib import Path

RETRIEVAL, UTF8 = 1, 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def is_there() -> bool:
    """Whether the voice is installed: `make speech-model`."""
    return find_spec("espeakng_loader") is not None


@cache
def english() -> Voice:
    """Return the process' voice: the library keeps its state for all of it."""
    return Voice()


class Voice:
    """eSpeak NG's English voice."""

    def __init__(self) -> None:
        import espeakng_loader  # type: ignore[import-not-found,unused-ignore]

        self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self.rate = self._library.espeak_Initialize(RETRIEVAL, 0, data, 0)
        if self.rate <= 0:
            raise RuntimeError("eSpeak NG does not start")
        self._parts: list[bytes] = []
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str) -> bytes:
        """Return a text as a WAV file."""
        self._parts.clear()
        raw = text.encode() + b"\0"
        self._library.espeak_Synth(raw, len(raw), 0, 0, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        file = io.BytesIO()
        with wave.open(file, "wb") as made:
            made.setnchannels(1)
            made.setsampwidth(2)
            made.setframerate(self.rate)
            made.writeframes(b"".join(self._parts))
        return file.getvalue()

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _: object) -> int:
        if samples and count > 0:
            self._parts.append(ctypes.string_at(samples, count * 2))
        return 0
