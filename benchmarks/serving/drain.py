"""What storing an interaction costs, by how the journal is drained: ``python …/serving/drain.py``.

    python benchmarks/serving/drain.py [--rates 5,30] [--seconds 6] [--rounds 4]
                                       [--stores sqlite,postgresql] [--results FOLDER]

Appends captured streams of 48 tokens to a journal, at random times of a given rate, while a drainer
moves them to the store, and counts the CPU time of this process, which is the replica's part: a
PostgreSQL server's own is not in it. No engine runs. In each round every way of draining gets the
same arrivals:

- ``none``: appended only, what the load itself costs; taken off the others;
- ``polls``: every 50 ms what is there, as it was until batches formed; ``polls_again`` is the same;
- ``batches``: 64 or what a second brought, the defaults of `journal.batch_records` and `batch_s`.

Writes ``drain.json``: ``ratios`` of milliseconds a record, of ``batches`` and of ``polls_again``
over ``polls`` (the latter is the noise), ``figures`` with medians and the mean batch, every run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratios import Ratio, rotated, spread
from results import RESULTS, write_json
from target import ROOT
from workloads import arrivals

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(ROOT))
from environment import commit, environment, now

from serving.capture import Drainer, Journal
from serving.capture.interaction import Capture, to_record
from serving.config.settings import Journal as Defaults
from serving.store import interactions
from serving.store.database import Database
from tests.postgres import Postgres, binaries

POLL_S = 0.05
WAYS = ("none", "polls", "batches", "polls_again")
TOKENS = 48
PROMPT_WORDS = 400
FLUSH_S = 60.0


def payload() -> bytes:
    """A streamed answer as the gateway captures it, under an id of its own."""
    id_ = f"chatcmpl-{uuid.uuid4().hex}"
    content = " ".join(f"word{number}" for number in range(PROMPT_WORDS))
    request = {"model": "care", "stream": True, "messages": [{"role": "user", "content": content}]}
    capture = Capture(
        *(id_, "/v1/suggestions", "suggestion", "care", "care", "care@7", "base", "key_1", "r"),
        request=json.dumps(request).encode(),
        stream=True,
        conversation_id="conversation-1",
        turn_position=3,
    )
    for number in range(TOKENS):
        delta = {"content": f" token{number}"}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        chunk = {"id": id_, "object": "chat.completion.chunk", "model": "care", "choices": [choice]}
        capture.chunks.append(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    capture.chunks.append(b"data: [DONE]\n\n")
    return capture.payload("completed")


async def measure(url: str, way: str, times: Sequence[float]) -> dict[str, float]:
    """Append at these times and drain; CPU milliseconds of this process, and the number of calls.

    Raises:
        StoreUnavailable: The store did not take everything in a minute.
    """
    db, calls = Database(url), 0
    await db.open()
    payloads = [payload() for _ in times]

    async def sink(batch: list[bytes]) -> None:
        nonlocal calls
        calls += 1
        records = await asyncio.to_thread(lambda: [to_record(one) for one in batch])
        await interactions.save(db, records)

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder, "a")
        defaults = Defaults()
        polls = way.startswith("polls")
        drainer = Drainer(
            folder,
            journal,
            sink,
            batch=defaults.batch_records,
            wait_s=FLUSH_S if polls else defaults.batch_s,
        )
        tasks = [] if way == "none" else [asyncio.create_task(drainer.run())]
        if polls:
            tasks.append(asyncio.create_task(_poll(drainer)))
        await interactions.count(db)  # connects
        begun, used = time.perf_counter(), time.process_time()
        for at, one in zip(times, payloads, strict=True):
            await asyncio.sleep(max(0.0, begun + at - time.perf_counter()))
            journal.append(one)
        if tasks:
            await drainer.flush(FLUSH_S)
        cpu_ms = (time.process_time() - used) * 1e3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        journal.close()
    await db.close()
    return {"cpu_ms": round(cpu_ms, 3), "records": len(times), "calls": calls}


async def _poll(drainer: Drainer) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        drainer.wake()


def costs(runs: Iterable[Mapping[str, Any]]) -> dict[tuple[str, float], dict[str, list[float]]]:
    """Milliseconds a record of each way, by (store, rate), over the load's own; a value a round."""
    cells: dict[tuple[str, float, int], dict[str, Mapping[str, Any]]] = {}
    for run in runs:
        cell = cells.setdefault((run["store"], run["rate"], run["round"]), {})
        cell[run["way"]] = run
    found: dict[tuple[str, float], dict[str, list[float]]] = {}
    for (store, rate, _), cell in sorted(cells.items()):
        for way, run in cell.items():
            if way != "none":
                ms = (run["cpu_ms"] - cell["none"]["cpu_ms"]) / run["records"]
                found.setdefault((store, rate), {}).setdefault(way, []).append(ms)
    return found


def ratios(runs: Iterable[Mapping[str, Any]]) -> dict[str, Ratio]:
    """Each way's cost over that of polling, round by round."""
    return {
        f"{way}_vs_polls_{store}_{rate:g}_per_s": spread(
            [a / b for a, b in zip(by_way[way], by_way["polls"], strict=True)]
        )
        for (store, rate), by_way in costs(runs).items()
        for way in ("batches", "polls_again")
    }


def figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Median milliseconds a record, and records a transaction, by store, rate and way."""
    return {
        f"{store}_{rate:g}_per_s_{way}": {
            "cpu_ms_per_record": round(statistics.median(values), 3),
            "records_per_call": round(
                sum(run["records"] for run in same) / sum(run["calls"] for run in same), 1
            ),
        }
        for (store, rate), by_way in costs(runs).items()
        for way, values in by_way.items()
        if (same := [r for r in runs if (r["store"], r["rate"], r["way"]) == (store, rate, way)])
    }


@contextmanager
def stores(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """URLs of fresh stores by name.

    Raises:
        SystemExit: A name is unknown, or PostgreSQL's server programs are not there.
    """
    if unknown := set(names) - {"sqlite", "postgresql"}:
        raise SystemExit(f"--stores: {', '.join(sorted(unknown))}: use sqlite, postgresql")
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{folder}/drain.sqlite"}
        if "postgresql" not in names:
            yield {name: urls[name] for name in names}
            return
        if (programs := binaries()) is None:
            raise SystemExit("postgresql needs PostgreSQL's server programs (initdb, postgres).")
        server = Postgres(programs, durable=True)
        try:
            server.start()
            urls["postgresql"] = server.socket_url
            yield {name: urls[name] for name in names}
        finally:
            server.remove()


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Draining benchmark; see the head of this file.")
    parser.add_argument(
        "--rates", type=lambda text: [float(n) for n in text.split(",")], default=[5.0, 30.0]
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of a cell")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--stores", type=lambda text: text.split(","), default=["sqlite"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    measured_at = commit()
    runs = []
    with stores(options.stores) as urls:
        for url in urls.values():
            asyncio.run(measure(url, "batches", arrivals(50, 1, seed=-1)))  # warm
        for number in range(options.rounds):
            for store, url in urls.items():
                for rate in options.rates:
                    times = arrivals(rate, options.seconds, seed=number)
                    for way in rotated(WAYS, number):
                        row = asyncio.run(measure(url, way, times))
                        runs.append(
                            {"round": number, "store": store, "rate": rate, "way": way, **row}
                        )
                        print(runs[-1], file=sys.stderr, flush=True)
    result = {
        "ratios": ratios(runs),
        "figures": figures(runs),
        "environment": environment(),
        "commit": measured_at,
        "time": now(),
        "runs": runs,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "drain.json", result)
    print(json.dumps({"ratios": result["ratios"], "figures": result["figures"]}, indent=1))


if __name__ == "__main__":
    main()
