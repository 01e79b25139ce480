"""How long curation takes and how much memory, by rows: ``make bench-curation``.

    python benchmarks/flywheel/curation.py [--rows 1000000] [--folder DIR]

Fills a SQLite store with labelled interactions of one line of business, then makes its dataset as
the flywheel does (`training/execution/curation_process.py`), with the default rules. Meanwhile the
calling event loop counts its turns: the longest pause between two is what a lease would feel.

Conversations have four turns of some 20 words a side, of 5,000 words by Zipf's law; a tenth
of the answers repeat an earlier one but for a word, a twentieth only greets, and some hold e-mail
addresses and order numbers. 200 agents of eight keys edit, use, rate or reject them.

Memory is the highest resident memory of the process, as Linux counts it (VmHWM). Writes
``benchmarks/results/curation.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

from serving.store.database import Database
from serving.store.tables import Feedback, Interaction
from training.execution import curation_process
from training.recipe.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results"
LOB = "care"
TURNS = 4
DAYS = 120
BATCH = 2000  # rows an INSERT
TICK_S = 0.05


def rows(count: int, seed: int = 1) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield an interaction and its feedback, as the tables hold them, oldest first."""
    chance = random.Random(seed)
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    words = ["".join(chance.choices(syllables, k=1 + n % 3)) for n in range(5000)]
    pool = chance.choices(words, [1 / (rank + 5) for rank in range(5000)], k=200_000)

    def text(length: int) -> str:
        begin = chance.randrange(len(pool) - length)
        return " ".join(pool[begin : begin + length]) + "."

    earlier: list[tuple[list[dict[str, str]], str]] = []
    said: list[dict[str, str]] = []
    for n in range(count):
        conversation, turn = divmod(n, TURNS)
        if turn == 0:
            said = [{"role": "system", "content": "Write the agent's next reply."}]
        private = f" Mail me at u{n}@example.com, order number {10_000_000 + n}."
        ask = {"role": "user", "content": text(20) + (private if n % 10 == 0 else "")}
        said = [*said, ask]
        messages, output = said, text(25)
        if earlier and chance.random() < 0.1:
            messages, output = chance.choice(earlier)
            output = f"{output} {chance.choice(words)}"
        elif chance.random() < 0.05:
            output = "Hello! How can I help you today?"
        if len(earlier) < 2000:
            earlier.append((messages, output))
        at = 1.6e9 + n * DAYS * 86_400 / count
        yield (
            {
                "id": f"chatcmpl-{n:024x}",
                "created_at": at,
                "lob": LOB,
                "task": "suggestion",
                "endpoint": "/v1/suggestions",
                "model_requested": LOB,
                "version": f"{LOB}@3" if n % 3 else "base",
                "base_model": "base",
                "request": {"messages": messages, "user": f"agent-{conversation % 200}"},
                "messages": messages,
                "response": {"choices": [{"index": 0, "message": {"content": output}}]},
                "output": output,
                "finish_reason": "stop",
                "latency_ms": 100.0,
                "conversation_id": f"conversation-{conversation}",
                "turn_position": turn,
                "key_id": f"key_{conversation % 8}",
                "replica": "r",
                "stream": False,
                "status": "completed",
                "steps": [],
            },
            {
                "interaction_id": f"chatcmpl-{n:024x}",
                "client_key": str(n),
                "key_id": f"key_{conversation % 8}",
                "created_at": at + 30,
                "rating": None,
                "edit": None,
                "used": None,
                "rejected": None,
                "index": 0,
                **chance.choice(
                    [
                        {"edit": f"{output} {text(3)}"},
                        {"edit": f"{text(3)} {output}"},
                        {"used": True},
                        {"used": True},
                        {"rating": 0.9},
                        {"rejected": True},
                    ]
                ),
            },
        )
        said = [*said, {"role": "assistant", "content": output}]


async def fill(db: Database, count: int) -> None:
    """Store the rows."""
    batch: list[tuple[dict[str, Any], dict[str, Any]]] = []

    async def store() -> None:
        async with db.session() as connection:
            await connection.execute(db.insert(Interaction), [one for one, _ in batch])
            await connection.execute(db.insert(Feedback), [one for _, one in batch])
        batch.clear()

    for one in rows(count):
        batch.append(one)
        if len(batch) == BATCH:
            await store()
    if batch:
        await store()


def peaks_kib() -> dict[int, int]:
    """Return the highest resident memory of each process below this one, by its id."""
    found = {}
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            waiting += map(int, below)
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it ended meanwhile
            continue
        if pid != os.getpid() and "VmHWM" in status:
            found[pid] = int(status.partition("VmHWM:")[2].split()[0])
    return found


async def measure(count: int, folder: Path) -> dict[str, Any]:
    """Fill a store and make its dataset; return the figures."""
    store = f"sqlite:///{folder / 'store.sqlite'}"
    db = Database(store)
    await db.open()
    began = time.monotonic()
    await fill(db, count)
    await db.close()
    filled = time.monotonic()
    peaks: dict[int, int] = {}
    pauses = [0.0]

    async def watch() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            pauses.append(time.monotonic() - last - TICK_S)
            for pid, peak in peaks_kib().items():
                peaks[pid] = max(peaks.get(pid, 0), peak)
            last = time.monotonic()

    watching = asyncio.create_task(watch())
    built = await curation_process.build(store, LOB, Recipe(), folder / "datasets")
    seconds = time.monotonic() - filled
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    watching.cancel()
    files = {name: (built.folder / name).stat().st_size for name in built.manifest["files"]}
    return {
        "rows": count,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent.ru_utime + spent.ru_stime, 1),
        "rows_per_second": round(count / seconds, 1),
        "peak_rss_mib": round(sum(peaks.values()) / 1024, 1),
        "longest_pause_of_the_caller_s": round(max(pauses), 3),
        "fill_seconds": round(filled - began, 1),
        "store_mib": round((folder / "store.sqlite").stat().st_size / 2**20, 1),
        "manifest_kib": round((built.folder / "manifest.json").stat().st_size / 1024, 1),
        "file_mib": {name: round(size / 2**20, 1) for name, size in files.items()},
        "filters": built.manifest["filters"],
    }


def main() -> None:
    """Run what the arguments ask for, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="Where there is room; default: a temporary one")
    arguments = parser.parse_args()
    made = {"commit": commit(), "began": now()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = asyncio.run(measure(arguments.rows, Path(folder)))
    result = {**figures, **made, "environment": environment()}
    file = RESULTS / "curation.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: figures[key] for key in list(figures)[:9]}, indent=1))


if __name__ == "__main__":
    main()
