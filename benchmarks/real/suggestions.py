"""Suggestions for real agents' replies, by line of business: ``make bench-real``.

    python benchmarks/real/suggestions.py [--quick] [--star FILE] [--lines hotel,bank]

STAR's dialogs of each line in the order of time: the last tenth is what is asked for, the tenth
before it chooses a prompt, and the rest is the past. The arms:

- ``base``: SmolLM2-135M-Instruct with the demo's plain prompt.
- ``base_best_prompt``: the same with that of a few prompts that did best before the last tenth.
- ``bm25``, ``minilm``: the nearest past reply of the line, word for word, no model.
- ``sft``: a LoRA trained on the past by `switchboard train`'s own pipeline, the plain prompt.
- ``sft_best_prompt``: the same, trained and asked with the prompt that did best. Where that is the
  plain one, the two arms with the best prompt are left out.
- ``sft_dpo``: SFT as before, then DPO: chosen is what was sent, picked or typed, and rejected the
  last draft that the agent typed before, where the two differ in words.

Both retrievals search all past replies, however few of them SFT learns from. All models answer
through one real server (Ray Serve, vLLM), greedily. Every figure has a 95 % interval, conversations
resampled whole. ``--quick`` asks for fewer dialogs and learns from fewer examples, evenly over the
time. Writes ``benchmarks/results/real.json``.
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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import yaml

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "serving"))
from environment import commit, environment, now
from figures import FIGURES, figures, summarize
from results import write_json
from retrieval import bm25, minilm, query

from serving import ports
from serving.config import prompts
from serving.config import settings as server_settings
from serving.config.prompts import Turn
from serving.store.database import Database
from training import pipeline
from training.data import dataset, repository
from training.data.curation import Curated
from training.data.examples import Example
from training.data.formats import star
from training.data.formats.star import StarDialog
from training.data.formats.star_examples import Renderer, examples
from training.evaluation import generate, server
from training.evaluation.gate import GateDecision
from training.execution.local import Worker
from training.metrics.text import edit_similarity
from training.recipe.recipe import Recipe
from training.reports.outcome import Outcome
from training.trainers.job import Result

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parents[1] / "results"
MODEL = ROOT / ".cache/switchboard/real-model"
PROMPTS = Path(__file__).with_name("prompts")
PLAIN = "plain"
MAX_TOKENS = 48


@dataclass(frozen=True)
class Size:
    """How much of each part is taken; None is all."""

    asked: int | None
    tried: int | None
    learned: int | None
    epochs: float


QUICK = Size(asked=6, tried=2, learned=48, epochs=1)
WHOLE = Size(asked=None, tried=20, learned=None, epochs=1)


def parts(dialogs: Sequence[StarDialog]) -> tuple[list[StarDialog], ...]:
    """Split a line's dialogs by time: the past, the tenth that chooses, the last tenth.

    A dialog that was still going on when the next part began is in neither.
    """
    ordered = sorted((d for d in dialogs if d.replies), key=lambda d: (d.began_at, d.id))
    tenth = max(2, len(ordered) // 10)
    asked, tried = ordered[-tenth:], ordered[-2 * tenth : -tenth]
    past = ordered[: -2 * tenth]
    return (
        [d for d in past if d.replies[-1].at < tried[0].began_at],
        [d for d in tried if d.replies[-1].at < asked[0].began_at],
        asked,
    )


def evenly(items: Sequence[Any], count: int | None) -> list[Any]:
    """Take so many of a sequence, evenly over it."""
    if count is None or count >= len(items):
        return list(items)
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]


def asked_for(dialogs: Sequence[StarDialog], render: Renderer) -> list[Example]:
    """Return an example for each reply, dialog by dialog."""
    return [one for dialog in dialogs for one in examples(dialog, render)]


def before(dialogs: Sequence[StarDialog]) -> list[tuple[Turn, ...]]:
    """Return the turns before each of the replies that `asked_for` returns."""
    return [
        dialog.turns[: reply.turn]
        for dialog in dialogs
        for reply in dialog.replies
        if reply.turn and reply.text.strip()
    ]


def recipe(size: Size) -> Recipe:
    """Return how the adapter is trained; the gate's word is kept and decides nothing here."""
    return Recipe.model_validate(
        {
            "curation": {"golden_share": 0.0},
            "lora": {"rank": 16, "alpha": 32},
            "sft": {
                "epochs": size.epochs,
                "batch_size": 4,
                "learning_rate": 5e-4,
                "max_length": 1024,
                "threads": 2,
                "device": "cpu",
            },
            "evaluation": {"temperature": 0, "max_tokens": MAX_TOKENS, "timeout_s": 300},
        }
    )


def configure(folder: Path, lines: Sequence[str]) -> Path:
    """Write a configuration like the demo's, for the real model and these lines."""
    content = yaml.safe_load((ROOT / "configs/demo.yaml").read_text(encoding="utf-8"))
    content |= {
        "model": str(MODEL),
        "http": {"host": "127.0.0.1", "port": ports.free()},
        "store": {"url": f"sqlite:///{folder / 'store.sqlite'}"},
        "journal": {"dir": str(folder / "journal")},
        "prompts": str(ROOT / "configs/prompts"),
        "lobs": {line: {} for line in lines},
    }
    content["engine"] |= {"max_model_len": 2048, "max_num_seqs": 16}
    content["env"] |= {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    content["adapters"] |= {"uri": str(folder / "adapters")}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return config


def create_key(config: Path) -> str:
    """Return an API key that may ask and train."""
    command = [sys.executable, "-P", "-m", "serving.cli", "keys", "create", "--config", str(config)]
    command += ["--name", "benchmark", "--role", "admin", "--role", "service", "--all"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def renderers(line: str) -> dict[str, Renderer]:
    """Return the prompts that are tried, by name."""
    default = prompts.read(ROOT / "configs/prompts")
    found = {PLAIN: default["default/suggestion.jinja"]}
    found["instruct"] = prompts.read(prompts.DEFAULT)["default/suggestion.jinja"]
    found |= {f.stem: f.read_text(encoding="utf-8") for f in sorted(PROMPTS.glob("*.jinja"))}
    made = {}
    for name, text in found.items():
        files = default | {"default/suggestion.jinja": text}
        made[name] = Renderer(line, prompts.parse(files, [line])[line, "suggestion"])
    return made


def with_drafts(dialogs: Sequence[StarDialog], render: Renderer) -> list[Example]:
    """Return the examples that `asked_for` does, with the last draft as what was shown."""
    drafted = []
    for dialog in dialogs:
        replies = [r for r in dialog.replies if r.turn and r.text.strip()]
        for one, reply in zip(examples(dialog, render), replies, strict=True):
            draft = reply.drafts[-1].text if reply.drafts else ""
            drafted.append(replace(one, shown=draft, source="edit") if draft.strip() else one)
    return drafted


class Bench:
    """One line after the other, through one server."""

    def __init__(self, options: argparse.Namespace, folder: Path, db: Database, **common: Any):
        self._size = QUICK if options.quick else WHOLE
        self._folder = folder
        self._db = db
        self._common = common
        self.recipe = recipe(self._size)
        self._client = openai.AsyncOpenAI(
            base_url=f"{common['url']}/v1", api_key=common["api_key"], max_retries=4
        )

    async def line(self, name: str, dialogs: Sequence[StarDialog]) -> dict[str, Any]:
        """Measure one line of business."""
        past, tried, asked = parts(dialogs)
        tried, asked = evenly(tried, self._size.tried), evenly(asked, self._size.asked)
        forms = renderers(name)
        rows = asked_for(asked, forms[PLAIN])
        learned = [row.target for row in asked_for(past, forms[PLAIN])]
        say(f"{name}: {len(past)} past dialogs, {len(asked)} asked, {len(rows)} replies")
        shown: dict[str, list[str]] = {}
        seconds: dict[str, float] = {}
        began = time.perf_counter()
        chosen, tries = await self._choose(tried, forms)
        seconds["choosing a prompt"] = time.perf_counter() - began
        texts = [query(turns) for turns in before(past)]
        seen = before(asked)
        wanted = [query(turns) for turns in seen]
        for arm, find in (("bm25", bm25), ("minilm", minilm)):
            began = time.perf_counter()
            nearest = await asyncio.to_thread(find, texts, wanted)
            shown[arm] = [learned[n] for n in nearest]
            seconds[arm] = time.perf_counter() - began
            say(f"  {arm}: {seconds[arm]:.0f} s")
        trained: dict[str, Any] = {}
        runs = {"sft": (PLAIN, "sft"), "sft_dpo": (PLAIN, "sft_dpo")}
        if chosen != PLAIN:
            runs["sft_best_prompt"] = (chosen, "sft")
        for arm, (prompt, method) in runs.items():
            source = with_drafts if method == "sft_dpo" else asked_for
            taught = evenly(source(past, forms[prompt]), self._size.learned)
            how = self.recipe.model_copy(update={"method": method})
            outcome = await self.train(name, taught, asked_for(asked, forms[prompt]), how)
            order = [e.interaction_id for e in outcome.dataset.holdout]
            if order != [e.interaction_id for e in rows]:
                raise RuntimeError("the pipeline asked for other replies than the other arms")
            # The pipeline asks the base as well.
            base = "base" if prompt == PLAIN else "base_best_prompt"
            shown[base] = [output.text for output in outcome.base.outputs]
            shown[arm] = [output.text for output in outcome.candidate.outputs]
            trained[arm] = training_of(outcome.training, outcome.decision)
            seconds |= {f"{arm}, {step}": s for step, s in outcome.cost.steps.items()}
            say(f"  {arm}: {outcome.cost.steps}")
        arms = {
            arm: [
                figures(text.strip(), row.target, [turn.text for turn in turns])
                for text, row, turns in zip(outputs, rows, seen, strict=True)
            ]
            for arm, outputs in shown.items()
        }
        return {
            "dialogs": {"past": len(past), "tried": len(tried), "asked": len(asked)},
            "replies": {"past": len(learned), "asked": len(rows)},
            "prompt": {"chosen": chosen, "edit_similarity": tries},
            "training": trained,
            "seconds": {what: round(value, 1) for what, value in seconds.items()},
            "arms": summarize(arms, [row.conversation_id for row in rows], "base"),
            "samples": [
                {"sent": row.target} | {arm: outputs[n] for arm, outputs in shown.items()}
                for n, row in list(enumerate(rows))[:6]
            ],
        }

    async def answers(self, model: str, rows: Sequence[Example]) -> list[str]:
        """Return a version's answers to the examples' prompts."""
        rules = self.recipe.evaluation
        return [o.text for o in await generate.generate(self._client, model, rows, rules)]

    async def _choose(
        self, tried: Sequence[StarDialog], forms: dict[str, Renderer]
    ) -> tuple[str, dict[str, float]]:
        """Return the prompt whose answers need the least editing, and what each had."""
        found = {}
        for name, render in forms.items():
            rows = asked_for(tried, render)
            outputs = await self.answers("base", rows)
            pairs = zip(outputs, rows, strict=True)
            each = [edit_similarity(text, row.target) for text, row in pairs]
            found[name] = round(sum(each) / len(each), 4)
            say(f"  prompt {name}: {found[name]:.3f}")
        return max(found, key=lambda name: found[name]), found

    async def train(
        self,
        line: str,
        taught: Sequence[Example],
        rows: Sequence[Example],
        how: Recipe,
        *,
        promote: bool = False,
    ) -> Outcome:
        """Train on some examples and judge by others, as `switchboard train` does."""
        newest = max(e.created_at for e in (*taught, *rows))
        curated = Curated(tuple(taught), (), tuple(rows), (), (), {}, newest)
        built = dataset.write(
            line, curated, how.curation, self._folder / "runs/datasets", kind="import"
        )
        await repository.note(self._db, line, built)
        return await pipeline.run(
            line, recipe=how, dataset_id=built.id, db=self._db, promote=promote, **self._common
        )


def training_of(done: Result, decision: GateDecision) -> dict[str, Any]:
    """Return what one fine-tuning took, how far it came, and what the gate said of it."""
    return {
        "seconds": round(done.seconds, 1),
        "steps": done.steps,
        "examples": done.examples,
        "tokens": done.tokens,
        "first_loss": done.losses[0][1],
        "last_loss": done.losses[-1][1],
        "too_long": done.too_long,
        "gate": decision.as_json(),
    }


def table(lines: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the arms of all lines as rows: each figure with the ends of its interval."""
    return [
        {"line": line, "arm": arm}
        | {name: [mean[end] for end in ("mean", "low", "high")] for name, mean in means.items()}
        for line, found in lines.items()
        for arm, row in found["arms"].items()
        for means in (row["means"],)
    ]


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


@asynccontextmanager
async def started(
    options: argparse.Namespace, folder: Path, lines: Sequence[str]
) -> AsyncIterator[Bench]:
    """Start a server for some lines of business, with what trains for them."""
    config = configure(folder, lines)
    settings = server_settings.load(config)
    key = await asyncio.to_thread(create_key, config)
    db = Database(settings.store_address)
    await db.open()
    try:
        async with Worker() as worker, server.running(None, config, settings) as url:
            common = {"config": config, "settings": settings, "url": url, "worker": worker}
            common |= {"api_key": key, "out": folder / "runs"}
            yield Bench(options, folder, db, **common)
    finally:
        await db.close()


def dialogs_of(file: Path, lines: Sequence[str]) -> dict[str, list[StarDialog]]:
    """Return the dialogs about each line's domain and nothing else."""
    by_line: dict[str, list[StarDialog]] = {line: [] for line in lines}
    for dialog in star.read(file):
        for line in lines:
            if dialog.about(frozenset({line})):
                by_line[line].append(dialog)
    return by_line


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all lines and return each one's figures by name."""
    lines = options.lines.split(",")
    by_line = dialogs_of(options.star, lines)
    async with started(options, folder, lines) as bench:
        return {line: await bench.line(line, by_line[line]) for line in lines}


def star_file(named: Path | None) -> Path:
    """Return STAR's file: the one that is named, or the one in SWITCHBOARD_STAR_DIR."""
    if named is not None:
        return named
    folder = os.environ.get("SWITCHBOARD_STAR_DIR")
    if not folder:
        raise SystemExit("Name STAR's file with --star, or its folder in SWITCHBOARD_STAR_DIR.")
    return Path(folder) / "star.jsonl.gz"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--lines", default="hotel,bank")
    parser.add_argument("--star", type=Path, default=None, help="else in SWITCHBOARD_STAR_DIR")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.star = star_file(options.star)
    os.chdir(ROOT)
    began, at_commit = time.perf_counter(), commit()
    folder = Path(tempfile.mkdtemp(prefix="switchboard-real-"))
    try:
        lines = asyncio.run(measure(options, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "data": {"name": "RasaHQ/STAR", "sha256": star.digest(options.star)},
        "model": "SmolLM2-135M-Instruct, Q4_1 read as float32",
        "quick": options.quick,
        "lines": lines,
        "seconds": round(time.perf_counter() - began, 1),
        "environment": environment(),
        "commit": at_commit,
        "time": now(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    write_json(options.results / "real.json", result | {"runs": table(lines)})
    for line, found in lines.items():
        for arm, row in found["arms"].items():
            each = ", ".join(f"{name} {row['means'][name]['mean']:.3f}" for name in FIGURES)
            say(f"{line} {arm}: {each}")


if __name__ == "__main__":
    main()
