"""The speech model and the voice that `make speech-model` installs, and their absence."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".cache" / "bench" / "speech"


def model() -> Path:
    """Return the folder of a Whisper model; skips the test where there is none."""
    if find_spec("faster_whisper") is None:
        pytest.skip("faster-whisper is not installed (the extra `transcription`)")
    found = next(FOLDER.rglob("model.bin"), None)
    if found is None:
        pytest.skip("there is no speech model: make speech-model")
    return found.parent


@contextmanager
def importable() -> Iterator[None]:
    """Have the voice and its package found."""
    folders = [str(FOLDER), str(ROOT / "benchmarks" / "speech")]
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
