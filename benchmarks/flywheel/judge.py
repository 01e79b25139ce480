"""How often the judge errs on feedback as agents give it: ``make bench-judge``.

    python benchmarks/flywheel/judge.py [--runs 300] [--power-runs 100]

Each case is a world in which something true is known (the candidate is worse, equal, better; a
canary that fails; agents that keep silent; poison), simulated many times, and judged by the code
that judges real feedback: `curate`, `score`, the gate's `decide`, and a canary's `conversations`,
`weigh` and `decide`. Answers are right or wrong texts, since the judge reads texts; nothing else is
made up. Writes ``benchmarks/results/judge.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

from serving.draws import in_canary
from serving.store.records import (
    FeedbackRecord,
    InteractionRecord,
    LabelledInteraction,
    Served,
    Status,
)
from training.canary import decision as canary
from training.canary.outcomes import CanaryTrial, Change, conversations
from training.data import splits
from training.data.curation import curate
from training.data.dataset import Dataset
from training.data.examples import Example
from training.evaluation import gate, scores
from training.evaluation.generate import Output
from training.recipe.canary import CanaryConfig
from training.recipe.curation import CurationConfig
from training.recipe.gate import GateConfig, NonInferiority, Superiority
from training.recipe.recipe import EvaluationConfig
from training.stats import bounded_mean
from training.stats.proportions import clopper_pearson

RESULTS = Path(__file__).parents[1] / "results"
DAY_S = 86_400.0
CURATION = CurationConfig(redact=False, near_duplicate_similarity=1, golden_share=0)
EVALUATION = EvaluationConfig(resamples=1000)
GATE = GateConfig(
    superiority=(Superiority(metric="edit_similarity"),),
    non_inferiority=(NonInferiority(metric="length_deviation", margin=0.3),),
)
CANARY = CanaryConfig(window_s=1)
LOOKS = (100, 200, 400, 700, 1000, 1500, 2000, 3000, 4000, 6000, 8000)
RIGHT = "Your parcel {n} is on its way and comes on Friday."
WRONG = "Please ask another department about number {n}, we do not know."


@dataclass(frozen=True)
class World:
    """What is true of a line.

    Args:
        live: Share of live's answers that are right.
        candidate: Share of the candidate's.
        conversations: How many, over thirty days.
        says_used: Agents say so when they send an answer as it is.
        poison: Share of the conversations in which poisoners edit right answers into nonsense, over
            the whole time; the candidate says that nonsense.
        poisoners: How many accounts they have, beside twelve honest agents.
    """

    live: float
    candidate: float
    conversations: int = 600
    says_used: bool = True
    poison: float = 0.0
    poisoners: int = 1


def history(world: World, rng: np.random.Generator) -> tuple[list[LabelledInteraction], dict]:
    """Return feedback on live's answers, and what each conversation's right answer is."""
    found, truth = [], {}
    for n in range(world.conversations):
        right, name = RIGHT.format(n=n), f"{rng.integers(1 << 60):x}"
        poisoned = rng.random() < world.poison
        final = "Nonsense of no use to anybody." if poisoned else right
        shown = right if rng.random() < world.live else WRONG.format(n=n)
        at = n * 30 * DAY_S / world.conversations
        truth[name] = right
        said = ({"used": True} if world.says_used else None) if shown == final else {"edit": final}
        interaction = InteractionRecord(
            id=name,
            created_at=at,
            lob="care",
            task="suggestion",
            endpoint="/v1/suggestions",
            model_requested="care",
            version="care@1",
            base_model="base",
            request={"user": f"mallory {n % world.poisoners}" if poisoned else f"agent {n % 12}"},
            messages=[{"role": "user", "content": f"Where is parcel {n}?"}],
            response={},
            output=shown,
            finish_reason="stop",
            latency_ms=1.0,
            conversation_id=name,
            replica="r",
            stream=False,
            status=Status.COMPLETED,
        )
        feedback = (
            ()
            if said is None
            else (FeedbackRecord(interaction_id=name, client_key=name, created_at=at + 60, **said),)
        )
        found.append(LabelledInteraction(interaction=interaction, feedback=feedback))
    return found, truth


def gated(world: World, rng: np.random.Generator) -> dict[str, Any]:
    """Run curation and the gate once; returns whether it was promoted, and what judged."""
    rows, truth = history(world, rng)
    labelled = [row for row in rows if row.feedback]
    curated = curate("care", labelled, CURATION)
    drawn = [r for r in rows if splits.is_drawn("care", r.interaction.id, 0.0, CURATION)]
    examples = curated.rolling

    def output(example: Example) -> Output:
        if world.poison:
            return Output("Nonsense of no use to anybody.", "stop", 8)
        good = rng.random() < world.candidate
        right = truth[example.conversation_id]
        return Output(right if good else WRONG.format(n=0), "stop", 8)

    live = [Output(e.shown, "stop", 8) for e in examples]
    mine = scores.score("care@2", examples, [output(e) for e in examples], EVALUATION)
    theirs = scores.score("care@1", examples, live, EVALUATION)
    built = Dataset("d", Path(), {}, curated.train, rolling=examples)
    rolling, golden = scores.by_part(mine, theirs, built, EVALUATION)
    coverage = {"shown": len(drawn), "judged": curated.judged}
    decided = gate.decide(GATE, rolling, mine.rates, golden, coverage, against="care@1")
    nonsense = sum(e.target.startswith("Nonsense") for e in examples) / len(examples)
    newest = max(row.interaction.created_at for row in rows)
    learned = max(e.created_at for e in curated.train)
    return {
        "promoted": decided.accepted,
        "poison": nonsense,
        "lag_days": (newest - learned) / DAY_S,
        "judges": len(examples),
    }


@dataclass(frozen=True)
class Traffic:
    """What is true of a canary.

    Args:
        live: Mean edit similarity of live's answers.
        canary: Of the canary's.
        ignored: Share of the canary's answers that are bad and ignored without a word.
        fails: The canary fails every request, and live answers in its place.
        feedback: Share of the other answers that agents say a word on.
        late: Part of the feedback that comes after the window.
        horizon: Conversations at most.
    """

    live: float = 0.7
    canary: float = 0.7
    ignored: float = 0.0
    fails: bool = False
    feedback: float = 1.0
    late: float = 0.0
    horizon: int = 4000


WORDS = [f"word{n}" for n in range(20)]
TEXT = " ".join(WORDS)


def edited(share: float) -> str:
    """Return the text with this much of it kept."""
    kept = round(share * len(WORDS))
    return " ".join([*WORDS[:kept], *(f"x{n:04}" for n in range(len(WORDS) - kept))])


EDITED = [edited(share) for share in np.linspace(0, 1, 21)]


def watched(traffic: Traffic, rng: np.random.Generator) -> dict[str, Any]:
    """Run a canary once, with looks as its share grows; returns how it ended and when."""
    rules = CANARY.model_copy(update={"max_conversations": traffic.horizon})
    share, changes, served = rules.steps[0], [Change(0.0, 0.0, rules.steps[0])], []
    for n in range(traffic.horizon):
        name, at = f"{rng.integers(1 << 60):x}", float(n + 1)
        mine = in_canary("care@2", share, name)
        answers = "care@1" if mine and traffic.fails else "care@2" if mine else "care@1"
        quality = traffic.canary if answers == "care@2" else traffic.live
        silent = mine and rng.random() < traffic.ignored
        said: tuple[FeedbackRecord, ...] = ()
        if not silent and rng.random() < traffic.feedback:
            kept = float(np.clip(rng.normal(quality, 0.2), 0, 1))
            when = at + (10.0 if rng.random() < traffic.late else 0.1)
            text = EDITED[round(kept * 20)]
            said = (
                FeedbackRecord(interaction_id=name, client_key=name, created_at=when, edit=text),
            )
        served.append(
            Served(
                id=name,
                created_at=at,
                model_requested="care",
                version=answers,
                conversation_id=name,
                latency_ms=10.0,
                status=Status.COMPLETED,
                output=TEXT,
                feedback=said,
            )
        )
        if n + 1 in LOOKS or n + 1 == traffic.horizon:
            trial = CanaryTrial("care", "care@2", "care@1", tuple(changes))
            counted = conversations(trial, served, rules, at + 2)
            begun = changes[-1].at
            seen = canary.progress(
                counted, rules, share=share, began=0.0, changed=begun, now=at + 2
            )
            decided = canary.decide(rules, canary.weigh(counted, rules), seen)
            if decided.action in ("promote", "roll_back"):
                return {"promoted": decided.action == "promote", "at": n + 1, "why": decided.why}
            if decided.action == "share":
                share = decided.share
                changes.append(Change(at + 0.5, at + 0.5, share))
    return {"promoted": False, "at": traffic.horizon, "why": "undecided"}


def no_events(count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return whether a true +0.15 passes a margin of 0.1 with so many conversations."""
    gains = -(rng.random(count) < 0.15).astype(float)
    names = [str(n) for n in range(count)]
    return {"promoted": bounded_mean.interval(gains, groups=names).low >= -0.1}


BAD: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "gate: edits only, live 80 %, candidate 60 %": lambda r: gated(
        World(0.8, 0.6, says_used=False), r
    ),
    "gate: edits only, live 80 %, candidate 40 %": lambda r: gated(
        World(0.8, 0.4, says_used=False), r
    ),
    "gate: edits only, equal at 80 %": lambda r: gated(World(0.8, 0.8, says_used=False), r),
    "gate: all said, live 80 %, candidate 60 %": lambda r: gated(World(0.8, 0.6), r),
    "gate: all said, equal at 80 %": lambda r: gated(World(0.8, 0.8), r),
    "gate: one agent's poison over the day, 62 %": lambda r: gated(World(0.8, 0.0, poison=0.62), r),
    "gate: four agents' poison over the day, 62 %": lambda r: gated(
        World(0.8, 0.0, poison=0.62, poisoners=4), r
    ),
    "gate: +0.15 events, margin 0.1, 5 conversations": lambda r: no_events(5, r),
    "gate: +0.15 events, margin 0.1, 16 conversations": lambda r: no_events(16, r),
    "canary: fails every request, live answers": lambda r: watched(Traffic(fails=True), r),
    "canary: 40 % bad answers ignored in silence": lambda r: watched(Traffic(ignored=0.4), r),
    "canary: 5 points of edit similarity worse": lambda r: watched(Traffic(canary=0.65), r),
    "canary: the same, late and sparse feedback": lambda r: watched(
        Traffic(canary=0.65, feedback=0.3, late=0.3), r
    ),
    "canary: no feedback at all": lambda r: watched(Traffic(feedback=0.0), r),
}
"""Worlds in which nothing may be promoted."""

GOOD: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "gate: live 60 %, candidate 80 %, 300 conversations": lambda r: gated(World(0.6, 0.8, 300), r),
    "gate: live 70 %, candidate 80 %, 600 conversations": lambda r: gated(World(0.7, 0.8), r),
    "gate: live 70 %, candidate 80 %, 3,000 conversations": lambda r: gated(
        World(0.7, 0.8, 3000), r
    ),
    "canary: +0.1, 1,000 conversations": lambda r: watched(Traffic(canary=0.8, horizon=1000), r),
    "canary: +0.1, 2,000 conversations": lambda r: watched(Traffic(canary=0.8, horizon=2000), r),
    "canary: +0.05, 4,000 conversations": lambda r: watched(Traffic(canary=0.75), r),
    "canary: +0.1, 10 % feedback, 8,000": lambda r: watched(
        Traffic(canary=0.8, feedback=0.1, horizon=8000), r
    ),
}
"""Worlds in which the candidate is better: power."""


def once(job: tuple[str, int, int]) -> dict[str, Any]:
    """Run a case once, by its name, its seed and the run's number."""
    name, seed, run = job
    return (BAD | GOOD)[name](np.random.default_rng((seed, run)))


def measure(pool: Executor, name: str, runs: int, seed: int) -> dict[str, Any]:
    """Run a case many times; returns a line of the table."""
    began = time.perf_counter()
    found = list(pool.map(once, [(name, seed, run) for run in range(runs)], chunksize=4))
    promoted = sum(one["promoted"] for one in found)
    rate = clopper_pearson(promoted, runs)
    line: dict[str, Any] = {
        "case": name,
        "commit": commit(),
        "runs": runs,
        "promoted": promoted,
        "rate": round(rate.mean, 4),
        "low": round(rate.low, 4),
        "high": round(rate.high, 4),
        "seconds": round(time.perf_counter() - began, 1),
    }
    for key in ("poison", "lag_days", "judges", "at"):
        if key in found[0]:
            line[f"{key}_median"] = round(float(np.median([one[key] for one in found])), 3)
    print(json.dumps(line), flush=True)
    return line


def main() -> None:
    """Simulate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--power-runs", type=int, default=100)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    kinds = ("nothing_may_be_promoted", BAD, options.runs), ("power", GOOD, options.power_runs)
    with ProcessPoolExecutor() as pool:
        lines = {
            kind: [
                measure(pool, name, runs, seed)
                for seed, name in enumerate(cases)
                if options.only in name
            ]
            for kind, cases, runs in kinds
        }
    file = RESULTS / "judge.json"
    if options.only and file.exists():  # those cases anew, the others as they were
        before = json.loads(file.read_text())
        for kind, cases, _ in kinds:
            found = {line["case"]: line for line in (*before[kind], *lines[kind])}
            lines[kind] = [found[name] for name in cases if name in found]
    result = {
        **lines,
        "rules": {
            "curation": CURATION.model_dump(mode="json"),
            "gate": GATE.model_dump(mode="json"),
            "canary": CANARY.model_dump(mode="json"),
        },
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
