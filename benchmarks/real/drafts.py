"""Completions of what agents typed, keystroke by keystroke: ``make bench-drafts``.

    python benchmarks/real/drafts.py [--star FILE] [--drafts 24] [--typed 12] [--longest 60]
        [--seconds 600]

STAR's agents typed drafts to ask for suggestions. Some of them, one a dialog, drawn by a seed, are
typed again into a real server (Ray Serve, vLLM, SmolLM2-135M-Instruct, the demo's plain prompt),
after the turns that the agent saw:

- ``waiting``: each keystroke waits for the answer to the one before. This gives the time to a
  suggestion, what is right (the completion is, to the character, what the agent typed next), what
  accepting that with one key would have saved, and the curve of precision against coverage by the
  confidence below which a line may abstain.
- ``echo``: the same keystrokes of some of the drafts as a chat completion that repeats the draft
  (`echo`), in turn with them: what reading the prompt anew would cost.
- ``typing``: a keystroke every so many milliseconds, whoever has answered by then; on a line where
  the newer ends the older (``ended``) and on one where none is ended (``kept``), draft by draft in
  turn.

Intervals are 95 %, drafts resampled whole. Writes ``benchmarks/results/drafts.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
from environment import commit, environment, now
from results import write_json
from suggestions import RESULTS, ROOT, configure, create_key, say, star_file

from serving.config import prompts, settings
from serving.config.prompts import Turn
from training.data.formats import star
from training.evaluation import server
from training.stats import bootstrap

ENDED, KEPT = "ended", "kept"
BOUNDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHORTEST = 8
"""Characters of the drafts that are drawn, at least."""


@dataclass(frozen=True)
class Typed:
    """A draft that is typed again, and the turns before it."""

    name: str
    turns: tuple[Turn, ...]
    text: str

    def body(self, typed: int, line: str) -> dict[str, Any]:
        """Return the request after so many keystrokes."""
        talk = [{"role": turn.role, "text": turn.text} for turn in self.turns]
        draft = self.text[:typed]
        return {"lob": line, "conversation": talk, "conversation_id": self.name, "draft": draft}


@dataclass(frozen=True)
class Answered:
    """What came of one keystroke: milliseconds, the status, and the best candidate if any."""

    draft: str
    typed: int
    ms: float
    status: int
    completion: str = ""
    confidence: float | None = None
    right: bool = False


def drawn(
    dialogs: Sequence[star.StarDialog], count: int, seed: int, longest: int = 60
) -> list[Typed]:
    """Draw drafts of so many characters at most, one of a dialog; the same seed draws the same."""
    rng = random.Random(seed)
    found = []
    for dialog in rng.sample(list(dialogs), len(dialogs)):
        fit = [
            Typed(dialog.conversation_id, dialog.turns[: reply.turn], draft.text.strip())
            for reply in dialog.replies
            for draft in reply.drafts
            if reply.turn and SHORTEST <= len(draft.text.strip()) <= longest
        ]
        if fit:
            found.append(rng.choice(fit))
        if len(found) == count:
            break
    return found


def right(text: str, typed: int, completion: str) -> bool:
    """Whether a completion is, to the character, what was typed next."""
    return bool(completion) and text[typed:].startswith(completion)


def saved(text: str, rows: Sequence[Answered]) -> int:
    """Return the keystrokes that one who accepts each right completion with one key spares.

    Args:
        text: What was typed.
        rows: What came of each keystroke.
    """
    by_place = {row.typed: row for row in rows if row.right}
    at, spared = 1, 0
    while at < len(text):
        row = by_place.get(at)
        if row is None or len(row.completion) < 2:
            at += 1
        else:
            spared += len(row.completion) - 1
            at += len(row.completion)
    return spared


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums[:, 0] / np.maximum(sums[:, 1], 1e-9)


def share(pairs: Sequence[tuple[float, float]]) -> list[float] | None:
    """Return a ratio of sums over drafts with the ends of its interval; None of nothing.

    Args:
        pairs: By draft, what is counted and of how much.
    """
    sums = np.asarray(pairs, dtype=float)
    if len(pairs) < 2 or not sums[:, 1].sum():
        return None
    found = bootstrap.statistic(sums, _ratio)
    return [round(value, 4) for value in (found.mean, found.low, found.high)]


def curve(rows: Sequence[Answered]) -> list[dict[str, Any]]:
    """Return precision and coverage by the confidence below which nothing is given."""
    drafts = sorted({row.draft for row in rows})
    by_draft = {name: [row for row in rows if row.draft == name] for name in drafts}
    points = []
    for bound in BOUNDS:
        given = {
            name: [r for r in mine if r.completion and (r.confidence or 0.0) >= bound]
            for name, mine in by_draft.items()
        }
        precision = share([(sum(r.right for r in g), len(g)) for g in given.values()])
        coverage = share([(len(given[name]), len(by_draft[name])) for name in drafts])
        count = sum(map(len, given.values()))
        points.append(
            {"abstain_below": bound, "given": count, "precision": precision, "coverage": coverage}
        )
    return points


def percentiles(values: Sequence[float]) -> dict[str, float | int]:
    """Return p50 and p99 in milliseconds, and of how many."""
    if not values:
        return {"count": 0}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1), "count": len(values)}


class Desk:
    """Asks a running server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._prompt = prompts.load(ROOT / "configs/prompts", [ENDED])[ENDED, "suggestion"]

    async def ask(self, one: Typed, typed: int, line: str) -> Answered:
        """Ask after so many keystrokes."""
        began = time.perf_counter()
        answer = await self._http.post("/v1/suggestions", json=one.body(typed, line))
        ms = (time.perf_counter() - began) * 1e3
        if answer.status_code not in (200, 409):
            answer.raise_for_status()
        said = answer.json() if answer.status_code == 200 else {"choices": []}
        best = next(iter(said["choices"]), {})
        completion = best.get("completion", "")
        return Answered(
            one.name,
            typed,
            ms,
            answer.status_code,
            completion,
            best.get("confidence"),
            right(one.text, typed, completion),
        )

    async def echoed(self, one: Typed, typed: int) -> float:
        """Ask for the same as a chat completion that repeats the draft; milliseconds."""
        messages = self._prompt.render(lob=ENDED, task="suggestion", turns=one.turns, fields={})
        draft = {"role": "assistant", "content": one.text[:typed].rstrip()}
        body = {
            "model": "base",
            "messages": [*messages, draft],
            "continue_final_message": True,
            "add_generation_prompt": False,
            "echo": True,
            "temperature": 0,
            "max_tokens": 16,
            "stop": [". ", "? ", "! ", "\n"],
        }
        began = time.perf_counter()
        (await self._http.post("/v1/chat/completions", json=body)).raise_for_status()
        return (time.perf_counter() - began) * 1e3

    async def typing(self, one: Typed, line: str, pause_s: float) -> list[Answered]:
        """Type a draft at a pace, asking with each keystroke."""
        asked = []
        for typed in range(1, len(one.text)):
            asked.append(asyncio.create_task(self.ask(one, typed, line)))
            await asyncio.sleep(pause_s)
        return list(await asyncio.gather(*asked))

    async def cache(self) -> tuple[float, float]:
        """Return the tokens of prompts that were looked up, and those that were found."""
        page = (await self._http.get("/metrics")).raise_for_status().text
        names = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
        queried, hit = (
            sum(float(x.rsplit(" ", 1)[1]) for x in page.splitlines() if x.startswith(name))
            for name in names
        )
        return queried, hit


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all on one server."""
    every = await asyncio.to_thread(lambda: list(star.read(options.star)))
    counted = sum(len(reply.drafts) for one in every for reply in one.replies)
    chosen = drawn(every, options.drafts, options.seed, options.longest)
    config = options.config or configured(folder)
    key = await asyncio.to_thread(create_key, config)
    auth = {"authorization": f"Bearer {key}"}
    async with (
        server.running(options.url, config, settings.load(config)) as url,
        httpx.AsyncClient(base_url=url, headers=auth, timeout=300) as http,
    ):
        desk = Desk(http)
        await desk.ask(chosen[0], 1, KEPT)  # what is compiled once is not measured
        await desk.ask(chosen[0], chosen[0].text.find(" ") + 1, KEPT)
        return {
            "drafts": {"in_data": counted, "drawn": len(chosen)},
            **await waiting(desk, chosen, options.typed, options.seconds),
            "typing": await paced(desk, chosen[: options.typed], options.pause_ms / 1e3),
        }


def configured(folder: Path) -> Path:
    """Write the configuration: one line where the newer ends the older, one where none is ended."""
    config = configure(folder, [ENDED, KEPT])
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["lobs"][KEPT] = {"suggestions": {"supersede": False}}
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return config


async def waiting(
    desk: Desk, chosen: Sequence[Typed], echoed: int, limit_s: float
) -> dict[str, Any]:
    """Type, waiting for each answer; no draft begins after the time's end."""
    end = time.monotonic() + limit_s
    rows: list[Answered] = []
    again: list[float] = []
    same: list[float] = []
    spared, total = [], len(chosen)
    cached = [0.0, 0.0]
    for number, one in enumerate(chosen):
        if time.monotonic() > end:
            break
        before = await desk.cache()
        mine = [await desk.ask(one, typed, ENDED) for typed in range(1, len(one.text))]
        after = await desk.cache()
        cached = [sum_ + b - a for sum_, a, b in zip(cached, before, after, strict=True)]
        if number < echoed:
            for row in mine[:: max(1, len(mine) // 4)]:
                again.append(await desk.echoed(one, row.typed))
                same.append((await desk.ask(one, row.typed, ENDED)).ms)
        spared.append((float(saved(one.text, mine)), float(len(one.text))))
        rows += mine
        say(f"waiting: {number + 1} of {total}")
    first = [row.ms for row in rows if row.typed == 1]
    return {
        "waiting": {
            "drafts": len(spared),
            "time_to_suggestion": percentiles([row.ms for row in rows]),
            "first_keystroke": percentiles(first),
            "later_keystrokes": percentiles([row.ms for row in rows if row.typed > 1]),
            "prefix_cache_hit_rate": round(cached[1] / cached[0], 4) if cached[0] else None,
            "nothing_to_add": sum(not row.completion for row in rows),
            "right": share(_by_draft(rows)),
            "keystrokes_saved": share(spared),
        },
        "echo": {"echo": percentiles(again), "without": percentiles(same)},
        "abstention": curve(rows),
    }


def _by_draft(rows: Sequence[Answered]) -> list[tuple[float, float]]:
    names = sorted({row.draft for row in rows})
    mine = [[row for row in rows if row.draft == name] for name in names]
    return [(float(sum(row.right for row in of)), float(len(of))) for of in mine]


async def paced(desk: Desk, chosen: Sequence[Typed], pause_s: float) -> dict[str, Any]:
    """Type at a pace, on both lines in turn."""
    rows: dict[str, list[Answered]] = {ENDED: [], KEPT: []}
    for number, one in enumerate(chosen):
        for line in (ENDED, KEPT) if number % 2 else (KEPT, ENDED):
            rows[line] += await desk.typing(one, line, pause_s)
        say(f"typing: {number + 1} of {len(chosen)}")
    found: dict[str, Any] = {"pause_ms": pause_s * 1e3}
    for line, mine in rows.items():
        last = {row.draft: row for row in mine}  # the newest of each, which nothing ends
        found[line] = {
            "keystrokes": len(mine),
            "superseded": round(sum(row.status == 409 for row in mine) / len(mine), 4),
            "answered": percentiles([row.ms for row in mine if row.status == 200]),
            "last_keystroke": percentiles([row.ms for row in last.values()]),
        }
    return found


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, default=None, help="else in SWITCHBOARD_STAR_DIR")
    parser.add_argument("--drafts", type=int, default=24)
    parser.add_argument("--typed", type=int, default=12)
    parser.add_argument("--longest", type=int, default=60, help="characters of a draft")
    parser.add_argument("--pause-ms", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=600, help="no draft begins later")
    parser.add_argument("--url", help="a server that runs, as --config says")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.star = star_file(options.star)
    os.chdir(ROOT)
    began, at_commit = time.perf_counter(), commit()
    folder = Path(tempfile.mkdtemp(prefix="switchboard-drafts-"))
    try:
        found = asyncio.run(measure(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    points = found.pop("abstention")
    result = {
        "data": {"name": "RasaHQ/STAR", "sha256": star.digest(options.star), "seed": options.seed}
        | {"longest": options.longest},
        "model": "SmolLM2-135M-Instruct, Q4_1 read as float32",
        **found,
        "seconds": round(time.perf_counter() - began, 1),
        "environment": environment(),
        "commit": at_commit,
        "time": now(),
        "runs": points,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "drafts.json", result)
    say(str({name: found[name] for name in ("waiting", "echo", "typing")}))


if __name__ == "__main__":
    main()
