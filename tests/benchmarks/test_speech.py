"""What the benchmark of speech counts."""

from types import ModuleType

import numpy as np
import pytest

from tests import scripts, speech


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return scripts.load("benchmarks/speech/run.py", "speech_run")


def test_errors_are_words_that_are_wrong_left_out_or_put_in(run: ModuleType) -> None:
    assert run.errors("My card hasn't come!", "my card hasn\u2019t come") == (0, 4)
    assert run.errors("one two three", "one three") == (1, 3)
    assert run.errors("one two", "one too many two") == (2, 2)
    assert run.rate(np.array([[1.0, 4.0], [0.0, 0.0]])).tolist() == [0.25, 0]


async def test_speech_of_the_voice_is_measured(run: ModuleType) -> None:
    model = speech.model()
    with speech.importable():
        if not run.is_there():
            pytest.skip("there is no voice: make speech-model")
        said = ["Where is my new card?", "I want my money back."]
        measured = await run.measure(model, said, threads=1)
    assert (measured["sentences"], measured["words"]) == (2, 10)
    assert measured["wer"]["value"] < 0.5
