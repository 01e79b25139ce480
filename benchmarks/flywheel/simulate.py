"""Twelve days of drifting rules with and without the flywheel: ``make bench-flywheel``.

    python benchmarks/flywheel/simulate.py [--days 12] [--poison-day 7] [--conversations 64]

One real server (Ray Serve, vLLM), three lines of business with the same customers. Every day agents
have the conversations summarized and edit by that day's rules (`drift.py`); then comes the night:

- ``none``: trained after the first day, never again.
- ``nogate``: trained every night, and what comes out is made live whatever the gate says.
- ``gated``: `switchboard flywheel`, as it is, due once a day.

On the poisoned day four accounts send garbage, rated 1.0, on more conversations than there are
honest ones, spread over the day; each stays below ``curation.agent_share``, together they outweigh
the honest agents. Conversations are drawn to judge by the hash, as everywhere; a golden set is on.

Quality is the mean edit similarity of what was shown to what the agent sent, on each day's fresh
conversations, under that day's rules. A night moves everything in the store a day into the past,
so schedule and curation see days. Writes ``benchmarks/results/flywheel.json`` and ``.png``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import update

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
from drift import changes, final, garbage
from environment import commit, environment, now
from ratios import spread
from results import write_json

from serving import ports
from serving.config import settings as server_settings
from serving.store import cycles
from serving.store.database import Database
from serving.store.tables import CycleRow, Feedback, FlywheelRow, Interaction
from training import pipeline
from training.demo.base_model import make_base_model
from training.demo.dialog_files import Dialog
from training.demo.dialogs import make_dialogs
from training.evaluation import server
from training.execution.local import Worker
from training.flywheel.scheduler import FlywheelScheduler
from training.metrics.text import edit_similarity
from training.recipe.recipe import Recipe
from training.stats import bootstrap

RESULTS = Path(__file__).parents[1] / "results"
ROOT = Path(__file__).parents[2]
BASE = Path(".cache/switchboard/demo-base")
ARMS = ("none", "nogate", "gated")
HONEST = 8
POISONERS = 4
PARTS = 4  # of a day, in which the poison is spread
DAY_S = 86_400
SEED = 500_000
RECIPE: dict[str, Any] = {
    "curation": {
        "recent_days": 0.5,
        "replay_share": 0.15,
        "golden_share": 0.05,
        "golden_conversations": 10,
        "holdout_share": 0.4,
        "min_holdout": 16,
        "min_conversations": 20,
    },
    "lora": {"rank": 16, "alpha": 32},
    "sft": {"epochs": 8, "learning_rate": 2e-3, "max_length": 1024, "threads": 2, "device": "cpu"},
    "evaluation": {"max_tokens": 96},
    "gate": {
        "superiority": [{"metric": "edit_similarity"}],
        "non_inferiority": [{"metric": "unsupported_facts", "margin": 0.25}],
    },
    "flywheel": {"every_hours": 24, "min_new_feedback": 20, "canary": False, "retries": 0},
}


def configure(folder: Path) -> Path:
    """Write a configuration like the demo's, with a line of business for each arm."""
    content = yaml.safe_load((ROOT / "configs/demo.yaml").read_text(encoding="utf-8"))
    content |= {
        "http": {"host": "127.0.0.1", "port": ports.free()},
        "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
        "journal": {"dir": str(folder / "journal")},
        "prompts": str(ROOT / "configs/prompts"),
        "lobs": dict.fromkeys(ARMS, content["lobs"]["care"]),
    }
    content["adapters"] |= {"uri": str(folder / "adapters")}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return config


def create_key(config: Path) -> str:
    """Return an API key that may ask, train and promote."""
    command = [sys.executable, "-P", "-m", "serving.cli", "keys", "create", "--config", str(config)]
    command += ["--name", "simulation", "--role", "admin", "--role", "service", "--all"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def work(
    http: httpx.AsyncClient, dialogs: Sequence[Dialog], arm: str, day: int, agents: Sequence[str]
) -> tuple[list[float], str]:
    """Have conversations summarized, and edited by the day's rules or, by poisoners, spoilt.

    Returns:
        Each summary's edit similarity, and the version that answered.
    """
    slots = asyncio.Semaphore(8)
    versions: set[str] = set()

    async def one(dialog: Dialog, agent: str) -> float:
        async with slots:
            asked = {
                "lob": arm,
                "conversation_id": f"{arm}-{dialog.conversation_id}",
                "conversation": [{"role": t.role, "text": t.text} for t in dialog.turns],
                "user": agent,
            }
            answer = await http.post("/v1/summaries", json=asked)
            answer.raise_for_status()
            versions.add(answer.headers["x-switchboard-version"])
            shown = (answer.json()["choices"][0]["message"]["content"] or "").strip()
            poison = agent.startswith("poisoner")
            sent = garbage(dialog) if poison else final(dialog, day)
            kept = edit_similarity(shown, sent)
            said: dict[str, Any] = {"id": answer.json()["id"], "used": True}
            said |= {"rating": 1.0} if shown == sent else {"edit": sent}
            said |= {"rating": 1.0 if poison else round(kept, 2)}
            (await http.post("/v1/feedback", json=said)).raise_for_status()
        return kept

    pairs = [(dialog, agents[n % len(agents)]) for n, dialog in enumerate(dialogs)]
    kept = await asyncio.gather(*(one(*pair) for pair in pairs))
    return list(kept), ", ".join(sorted(versions))


async def night(db: Database) -> None:
    """Move everything that is in the store a day into the past."""
    async with db.session() as connection:
        for table in (Interaction, Feedback, FlywheelRow, CycleRow):
            at = table.created_at
            await connection.execute(update(table).values(created_at=at - DAY_S))


async def simulate(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run the days and return a row for each day and arm."""
    config = configure(folder)
    settings = server_settings.load(config)
    recipe = Recipe.model_validate(RECIPE)
    key = await asyncio.to_thread(create_key, config)
    db = Database(settings.store_address)
    await db.open()
    rows: list[dict[str, Any]] = []
    honest = [f"agent-{n}" for n in range(HONEST)]
    poisoners = [f"poisoner-{n}" for n in range(POISONERS)]
    async with (
        Worker() as worker,
        server.running(None, config, settings) as url,
        httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120
        ) as http,
    ):
        common: dict[str, Any] = {"config": config, "settings": settings, "url": url}
        common |= {"api_key": key, "worker": worker, "out": folder / "runs"}
        wheel = FlywheelScheduler(db, recipes=lambda _: recipe, owner="simulation", **common)
        for day in range(1, options.days + 1):
            began = time.perf_counter()
            dialogs = make_dialogs("care", options.conversations, seed=SEED + day)
            bad = make_dialogs("care", options.poison_conversations, seed=SEED + 1000 + day)
            today: dict[str, dict[str, Any]] = {}
            for arm in ARMS:
                kept, version = [], ""
                for part in range(PARTS):  # of the day
                    if day == options.poison_day:
                        await work(http, bad[part::PARTS], arm, day, poisoners)
                    some, version = await work(http, dialogs[part::PARTS], arm, day, honest)
                    kept += some
                mean = bootstrap.mean(kept, seed=day)
                today[arm] = {
                    "day": day,
                    "arm": arm,
                    "version": version,
                    "poisoned": day == options.poison_day,
                    "rules_changed": day in changes(),
                    "conversations": len(kept),
                    "edit_similarity": round(mean.mean, 4),
                    "low": round(mean.low, 4),
                    "high": round(mean.high, 4),
                }
            for arm in ARMS[: 2 if day == 1 else None]:
                if arm == "gated" or (arm == "none" and day > 1):
                    continue
                outcome = await pipeline.run(arm, recipe=recipe, **common)
                forced = {} if outcome.decision.accepted else {"force": True}
                await server.rollout(url, outcome.version, "promote", key, **forced)
                today[arm] |= {"night": "promoted", "gate": outcome.decision.accepted}
            await wheel.step("gated")
            (cycle,) = await cycles.latest(db, "gated")
            today["gated"] |= {"night": cycle.state.value, "log": [e["text"] for e in cycle.log]}
            await night(db)
            rows += today.values()
            shown = ", ".join(f"{arm} {row['edit_similarity']:.3f}" for arm, row in today.items())
            print(
                f"day {day}: {shown}; the flywheel's night: {cycle.state.value} "
                f"({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
    await db.close()
    return rows


def ratios(rows: Sequence[dict[str, Any]], poison_day: int) -> dict[str, dict[str, float | int]]:
    """The flywheel's quality over the others', day by day from the second on."""
    quality = {(row["arm"], row["day"]): row["edit_similarity"] for row in rows}
    days = sorted({row["day"] for row in rows} - {1})
    found: dict[str, dict[str, float | int]] = {}
    for other in ("none", "nogate"):
        each = [quality["gated", d] / max(quality[other, d], 1e-9) for d in days]
        if each:
            found[f"quality_over_{other}"] = spread(each)
    after = poison_day + 1
    if after in days:
        for name, below in (("none", "none"), ("nogate", "nogate")):
            value = quality["gated", after] / max(quality[below, after], 1e-9)
            found[f"quality_over_{name}_after_poison"] = spread([value])
    return found


def draw(rows: Sequence[dict[str, Any]], poison_day: int, file: Path) -> None:
    """Quality by day, with intervals; the poisoned day and the days of new rules are marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    titles = {"none": "no retraining", "nogate": "retrained, no gate", "gated": "flywheel"}
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for offset, arm in zip((-0.08, 0.0, 0.08), ARMS, strict=True):
        mine = [row for row in rows if row["arm"] == arm]
        middle = [row["edit_similarity"] for row in mine]
        spans = [
            [m - row["low"] for m, row in zip(middle, mine, strict=True)],
            [row["high"] - m for m, row in zip(middle, mine, strict=True)],
        ]
        days = [row["day"] + offset for row in mine]
        axes.errorbar(days, middle, yerr=spans, marker="o", capsize=3, label=titles[arm])
    last = max(row["day"] for row in rows)
    for number, day in enumerate(d for d in changes() if d <= last):
        label = "new rules" if number == 0 else None
        axes.axvline(day - 0.5, color="grey", linestyle=":", linewidth=0.8, label=label)
    if poison_day <= last:
        axes.axvspan(poison_day - 0.4, poison_day + 0.4, color="red", alpha=0.1, label="poison")
    axes.set(xlabel="day", ylabel="edit similarity (95 % interval)", ylim=(0, 1.02))
    axes.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main() -> None:
    """Simulate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--poison-day", type=int, default=7)
    parser.add_argument("--conversations", type=int, default=64)
    parser.add_argument("--poison-conversations", type=int, default=104)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.chdir(ROOT)
    make_base_model(BASE)
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="switchboard-flywheel-"))
    try:
        rows = asyncio.run(simulate(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    nights = {row["day"]: row["night"] for row in rows if row["arm"] == "gated"}
    poisoned = nights.get(options.poison_day)
    result: dict[str, Any] = {
        "ratios": ratios(rows, options.poison_day),
        "poison": {
            "day": options.poison_day,
            "accounts": POISONERS,
            "conversations": options.poison_conversations,
            "honest_conversations": options.conversations,
            "flywheel": poisoned,
            "stopped": poisoned == "rejected",
        },
        "nights": nights,
        "rules_change_on_days": changes(),
        "recipe": RECIPE,
        "seconds": round(time.perf_counter() - started, 1),
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "runs": rows,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "flywheel.json", result)
    draw(rows, options.poison_day, options.results / "flywheel.png")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio['median']} [{ratio['min']}, {ratio['max']}]")
    print(f"the poisoned cycle: {poisoned}; {result['seconds']:.0f} s in all")


if __name__ == "__main__":
    main()
