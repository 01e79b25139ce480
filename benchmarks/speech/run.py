"""Word error rate and speed of transcriptions, on speech that a synthetic voice made.

    make bench-speech
    python benchmarks/speech/run.py [--banking FOLDER] [--sentences N]

Sentences of banking77's test split, drawn by a seed, said by eSpeak NG and transcribed as the
server does. The words are known exactly; the voice is a robot's, cleaner than a telephone line and
odder than people, so this bounds nothing about real calls. Words are compared in small letters
without punctuation; numbers spelled in another way count as errors. Intervals are bootstrapped over
sentences. Writes ``benchmarks/results/speech.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parent))
from environment import commit, environment, now
from rapidfuzz.distance import Levenshtein
from voice import english, is_there

from serving.config.transcription.sections import Transcription
from serving.transcription.whisper import Options, Transcriber
from training.stats import bootstrap

RESULTS = Path(__file__).parents[1] / "results"
RESAMPLES = 2_000


def words(text: str) -> list[str]:
    """Return a text's words, as they are compared."""
    return re.findall(r"[\w']+", text.casefold().replace("\u2019", "'"))


def errors(said: str, heard: str) -> tuple[int, int]:
    """Return how many words are wrong, left out or put in, and how many were said."""
    right = words(said)
    return Levenshtein.distance(right, words(heard)), len(right)


def rate(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) word error rates of (n, 2) sums of errors and words."""
    found: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 1], 1)
    return found


async def measure(model: Path, sentences: Sequence[str], threads: int) -> dict[str, Any]:
    """Say and transcribe sentences, one after the other."""
    transcriber = Transcriber(Transcription(model=model, threads=threads))
    await transcriber.start()
    voice, found, took_s, audio_s = english(), [], 0.0, 0.0
    for sentence in sentences:
        recording = voice.say(sentence)
        started = time.perf_counter()
        made = await transcriber.transcribe(io.BytesIO(recording), Options(language="en"))
        took_s += time.perf_counter() - started
        audio_s += made.seconds
        found.append(errors(sentence, made.text))
    await transcriber.close()
    wer = bootstrap.statistic(found, rate, resamples=RESAMPLES)
    return {
        "sentences": len(found),
        "words": sum(count for _, count in found),
        "audio_s": round(audio_s, 1),
        "wer": {"value": wer.mean, "low": wer.low, "high": wer.high},
        "without_error": round(sum(wrong == 0 for wrong, _ in found) / len(found), 4),
        "seconds_of_audio_a_second": round(audio_s / took_s, 2),
    }


def main() -> None:
    """Measure, print and write."""
    folder = os.environ.get("SWITCHBOARD_BANKING_DIR")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--banking", type=Path, default=folder and Path(folder))
    parser.add_argument("--model", type=Path, help="Folder; default: that of make speech-model.")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="speech.json", help="The results' file.")
    options = parser.parse_args()
    installed = Path(__file__).parents[2] / ".cache" / "bench" / "speech"
    found = options.model or next((f.parent for f in installed.rglob("model.bin")), None)
    if options.banking is None or found is None or not is_there():
        sys.exit("Needs SWITCHBOARD_BANKING_DIR (--banking) and `make speech-model`.")
    with (options.banking / "test.csv").open(encoding="utf-8", newline="") as file:
        texts = [" ".join(row["text"].split()) for row in csv.DictReader(file)]
    sentences = random.Random(0).sample(texts, options.sentences)
    result: dict[str, Any] = {"at": now(), "commit": commit(), "environment": environment()}
    result |= {"model": "Whisper tiny.en, int8", "voice": "eSpeak NG", "threads": options.threads}
    result |= asyncio.run(measure(found, sentences, options.threads))
    print(json.dumps(result, indent=1))
    (RESULTS / options.out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
