"""How often a canary's tests are wrong, and how soon they are right: ``make bench-canary``.

    python benchmarks/flywheel/canary.py [--runs 10000] [--power-runs 1000] [--horizon 4000]

Simulates canaries under the default rules of `training/recipe/canary.py`, with the code that
decides on real ones (`training/stats/confidence_sequence.py`), looking after every conversation. In
A/A runs both arms draw from one population: every rollback for harm is a false alarm. Beside it,
the same runs judged by a t-test that is looked at every 50 conversations, at the same level. Then
true effects.

Conversations have 1 to 8 turns that resemble each other; load, and with it slow answers, rises and
falls over the day, while the share grows. Each conversation is judged: where only a part f is, it
takes 1 / f times as many. Writes ``benchmarks/results/canary.json`` and ``canary.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

from training.canary.outcomes import METRICS
from training.recipe.canary import CanaryConfig
from training.stats.confidence_sequence import capital, scores
from training.stats.proportions import clopper_pearson, wilson

RESULTS = Path(__file__).parents[1] / "results"
RULES = CanaryConfig()
POOL = 60_000  # conversations an hour of the day, from which runs draw
HOURS = 6
DAY = 1200  # conversations
CHUNK = 100  # runs at once: their arrays fit the cache
LOOK = 50  # conversations between two looks of the t-test
EFFECTS: dict[str, dict[str, float]] = {
    "none": {},
    "edit similarity -0.02": {"edit_similarity": -0.02},
    "edit similarity -0.05": {"edit_similarity": -0.05},
    "edit similarity -0.1": {"edit_similarity": -0.1},
    "acceptance -5 points": {"acceptance": -0.05},
    "failures 1 % to 5 %": {"failures": 0.04},
    "slow answers +5 points": {"slow_answers": 0.05},
    "edit similarity +0.05": {"edit_similarity": 0.05},
}

Floats = NDArray[np.float64]


def pool(rng: np.random.Generator, effect: dict[str, float]) -> dict[str, Floats]:
    """Return metric name to (HOURS, POOL) conversation means; above is worse for some of them."""
    size = (HOURS, POOL)
    turns = 1 + np.minimum(rng.poisson(2.5, size), 7)
    said = np.arange(8) < turns[..., None]
    ease = rng.beta(4, 2, size)[..., None]  # what a conversation's turns have in common
    whole = rng.random((*size, 8)) < 0.6 * ease
    similarity = np.where(whole, 1.0, np.clip(rng.normal(ease, 0.2, (*size, 8)), 0, 1))
    similarity = np.clip(similarity + effect.get("edit_similarity", 0.0), 0, 1)
    accepted = rng.random((*size, 8)) < 0.55 + 0.4 * ease + effect.get("acceptance", 0.0)
    load = 0.05 + 0.1 * np.sin(np.pi * np.arange(HOURS) / HOURS)[:, None, None] ** 2
    slow = rng.random((*size, 8)) < load + effect.get("slow_answers", 0.0)
    failed = rng.random((*size, 8)) < 0.01 + effect.get("failures", 0.0)
    values = {
        "edit_similarity": similarity,
        "acceptance": accepted,
        "usage": accepted,
        "slow_answers": slow,
        "failures": failed,
    }
    found = {name: (value * said).sum(axis=-1) / turns for name, value in values.items()}
    always = np.ones(size)  # every answer is shown and judged here
    return {name: found.get(name, always) for name in METRICS}


def assign(rng: np.random.Generator, runs: int, horizon: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the share and the arm of each conversation: the share grows as long as it can."""
    steps = np.array(RULES.steps)
    chance = rng.random((runs, horizon))
    share, canary = np.empty((runs, horizon)), np.empty((runs, horizon), dtype=bool)
    step, counted = np.zeros(runs, dtype=int), np.zeros(runs, dtype=int)
    for t in range(horizon):
        share[:, t] = steps[step]
        canary[:, t] = chance[:, t] < share[:, t]
        counted += canary[:, t]
        grows = (counted >= RULES.step_conversations) & (step < len(steps) - 1)
        step[grows] += 1
        counted[grows] = 0
    return share, canary


def first(crossed: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return the first conversation at which a test is over, the horizon where never."""
    return np.where(crossed.any(axis=-1), crossed.argmax(axis=-1), crossed.shape[-1])


def t_test(good: Floats, canary: NDArray[np.bool_], level: float) -> NDArray[np.bool_]:
    """Return where Welch's one-sided test finds harm, at each of its looks."""
    at = np.arange(LOOK - 1, good.shape[-1], LOOK)
    parts = []
    for arm in (canary, ~canary):
        count = np.cumsum(arm, axis=-1)[:, at]
        total = np.cumsum(good * arm, axis=-1)[:, at]
        square = np.cumsum(good**2 * arm, axis=-1)[:, at]
        mean = total / np.maximum(count, 1)
        variance = (square - count * mean**2) / np.maximum(count - 1, 1)
        parts.append((mean, variance / np.maximum(count, 1), count))
    (mine, error, count), (theirs, other_error, other_count) = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (mine - theirs) / np.sqrt(error + other_error)
    enough = (count >= 30) & (other_count >= 30)
    crossed = np.zeros_like(good, dtype=bool)
    crossed[:, at] = enough & (t < NormalDist().inv_cdf(level))
    return crossed


def simulate(effect: dict[str, float], runs: int, horizon: int, seed: int) -> dict[str, Any]:
    """Return, run by run, when each test was over and how many conversations the canary had."""
    rng = np.random.default_rng(seed)
    control, treated = pool(rng, {}), pool(rng, effect)
    if not effect:
        treated = control
    hour = np.arange(horizon) * HOURS // DAY % HOURS
    level = RULES.false_rollback / len(RULES.harm)
    parts: list[dict[str, Any]] = []
    for start in range(0, runs, CHUNK):
        count = min(CHUNK, runs - start)
        share, canary = assign(rng, count, horizon)
        who = rng.integers(0, POOL, (count, horizon))
        good = {}
        for name, metric in METRICS.items():
            value = np.where(canary, treated[name][hour, who], control[name][hour, who])
            good[name] = 1 - value if metric.better == "lower" else value
        harm = {
            rule.metric: first(
                capital(scores(1 - good[rule.metric], canary, share), rule.margin) >= 1 / level
            )
            for rule in RULES.harm
        }
        earned = [
            first(
                capital(scores(good[rule.metric], canary, share), -rule.margin)
                >= 1 / RULES.false_promotion
            )
            for rule in RULES.non_inferiority
        ]
        peeked = [
            first(t_test(good[rule.metric], canary, RULES.false_rollback / len(RULES.harm)))
            for rule in RULES.harm
        ]
        exposed = np.concatenate([np.zeros((count, 1), int), canary.cumsum(axis=-1)], axis=-1)
        harmed, promoted = np.min(list(harm.values()), axis=0), np.max(earned, axis=0)
        over = np.minimum(np.minimum(harmed, promoted) + 1, horizon)
        parts.append(
            {
                "harm": harmed,
                "promotion": promoted,
                "peeked": np.min(peeked, axis=0),
                "exposed": exposed[np.arange(count), over],
                **{f"harm_{name}": value for name, value in harm.items()},
            }
        )
    found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    found["difference"] = {
        name: round(float((treated[name] - control[name]).mean()), 4) for name in effect
    }
    return found


def rate(count: int, runs: int, *, exact: bool = False) -> dict[str, float | int]:
    """Return a rate as the table holds it."""
    found = (clopper_pearson if exact else wilson)(count, runs)
    return {
        "count": count,
        "runs": runs,
        "rate": round(found.mean, 5),
        "low": round(found.low, 5),
        "high": round(found.high, 5),
    }


def row(name: str, found: dict[str, Any], horizon: int) -> dict[str, Any]:
    """Return a scenario's line: what the whole policy did, and how soon."""
    harm, promotion = found["harm"], found["promotion"]
    runs = len(harm)
    rolled_back = (harm < horizon) & (harm <= promotion)
    promoted = (promotion < horizon) & (promotion < harm)
    decided = rolled_back | promoted
    when = np.minimum(harm, promotion)[decided] + 1
    return {
        "effect": name,
        "difference": found["difference"],
        "rolled_back": rate(int(rolled_back.sum()), runs),
        "promoted": rate(int(promoted.sum()), runs),
        "undecided": rate(int((~decided).sum()), runs),
        "conversations_until_decision": _quartiles(when),
        "canary_conversations_until_decision": _quartiles(found["exposed"][decided]),
    }


def _quartiles(values: NDArray[np.int_]) -> dict[str, float] | None:
    if not values.size:
        return None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"p25": float(low), "median": float(middle), "p75": float(high)}


def draw(found: dict[str, dict[str, Any]], horizon: int) -> None:
    """Left: false alarms so far in A/A runs. Right: rollbacks so far under true effects."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    x = np.arange(1, horizon + 1)

    def so_far(when: NDArray[np.int_]) -> Floats:
        return np.cumsum(np.bincount(when, minlength=horizon + 1)[:horizon]) / len(when)

    left.plot(x, so_far(found["none"]["harm"]), label="this test, a look at every conversation")
    left.plot(x, so_far(found["none"]["peeked"]), label=f"t-test, a look every {LOOK}")
    left.axhline(RULES.false_rollback, color="black", linewidth=0.8, label="stated rate")
    left.set(xlabel="conversations", ylabel="false alarms", title="A/A: nothing differs")
    left.legend()
    for name, runs in found.items():
        if name != "none" and "+0.05" not in name:
            right.plot(x, so_far(runs["harm"]), label=name)
    right.set(xlabel="conversations", ylabel="harm found", title="True effects", ylim=(0, 1.02))
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "canary.png", dpi=120)


def main() -> None:
    """Simulate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--power-runs", type=int, default=1000)
    parser.add_argument("--horizon", type=int, default=4000)
    options = parser.parse_args()
    started, found = time.perf_counter(), {}
    for seed, (name, effect) in enumerate(EFFECTS.items()):
        runs = options.power_runs if effect else options.runs
        found[name] = simulate(effect, runs, options.horizon, seed)
        print(f"{name}: {runs} runs, {time.perf_counter() - started:.0f} s")
    none, horizon = found["none"], options.horizon
    alarms = {
        "this_test": rate(int((none["harm"] < horizon).sum()), options.runs, exact=True),
        "peeked_t_test": rate(int((none["peeked"] < horizon).sum()), options.runs, exact=True),
        **{
            name: rate(int((none[f"harm_{name}"] < horizon).sum()), options.runs, exact=True)
            for name in METRICS
        },
    }
    result = {
        "stated_false_alarm_rate": RULES.false_rollback,
        "false_alarms": alarms,
        "policy": [row(name, runs, horizon) for name, runs in found.items()],
        "rules": RULES.model_dump(mode="json"),
        "horizon_conversations": horizon,
        "looks": {"this_test": "after every conversation", "t_test_every": LOOK},
        "seconds": round(time.perf_counter() - started, 1),
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "canary.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(found, horizon)
    for name in ("this_test", "peeked_t_test"):
        alarm = alarms[name]
        print(f"A/A {name}: {alarm['rate']:.4f} [{alarm['low']:.4f}, {alarm['high']:.4f}]")
    for line in result["policy"]:
        until = line["conversations_until_decision"]
        print(
            f"{line['effect']}: rolled back {line['rolled_back']['rate']:.3f}, promoted "
            f"{line['promoted']['rate']:.3f}, median {until['median'] if until else '-'}"
        )


if __name__ == "__main__":
    main()
