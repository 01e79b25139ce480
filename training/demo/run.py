"""`switchboard demo`: the whole loop on this machine, for real, in a few minutes.

Serve, capture, edit, fine-tune, gate, hot-swap while traffic runs, roll back. The base model is
small and made here; everything else is what production runs.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import yaml
from rich.console import Console

from serving import auth, endpoints, ports
from serving.config import settings as server_settings
from serving.store.database import Database
from training import pipeline
from training.data import splits
from training.data.examples import Example
from training.demo import interrupt
from training.demo import recipe as demo_recipe
from training.demo.agents import REPLIES_PER_DIALOG, Traffic, replay
from training.demo.dialog_files import Dialog, read_dialogs
from training.demo.dialogs import LOBS, make_dialogs
from training.demo.server import DemoServer
from training.errors import TooLittleData
from training.evaluation import generate
from training.evaluation import scores as evaluation
from training.execution.local import Worker
from training.progress import each, progress, show_steps
from training.recipe import recipe as recipes
from training.recipe.recipe import Recipe
from training.reports.outcome import Outcome

CONVERSATIONS = 75
SEED = 20_000
FEWEST = 3  # conversations of a line: one to learn from, two for an interval
OWN_REPLIES = 8  # of a user's conversation: there may be few of them
GAIN = 0.15
BASE = Path(".cache/switchboard/demo-base")
CONFIG = Path("configs/demo.yaml")
console = Console(highlight=False)


@dataclass
class Findings:
    """What the demo measured."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    other_adapter: dict[str, float] = field(default_factory=dict)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    wall_seconds: float = 0.0

    def swap_seconds(self) -> list[float]:
        """Seconds of each promotion, from request to the last replica's flip."""
        return [o.rollout["seconds"] for o in self.outcomes.values() if o.rollout]


def run(*, dialogs: Path | None, out: Path) -> None:
    """Run the demo and write its report; the process's exit status says whether it passed.

    Args:
        dialogs: Your own conversations, or None for generated ones, for which the gain in edit
            similarity must also reach 0.15 for each line of business.
        out: Folder for the report and the demo's state; what an earlier demo left is removed.

    Raises:
        KeyboardInterrupt: Someone stopped it, with Ctrl-C or SIGTERM; no process of it is left.
    """
    from training.demo import report

    begin = time.monotonic()
    conversations = _conversations(dialogs)
    console.print("[bold]1. The base model")
    _make_base()
    findings = interrupt.run(
        _loop(conversations, out, own=dialogs is not None),
        lambda: console.print("Stopping: the server and the training end first."),
    )
    findings.wall_seconds = time.monotonic() - begin
    report.write(findings, out)
    report.show(findings, console)
    faults = _faults(findings, GAIN if dialogs is None else None)
    for fault in faults:
        console.print(f"  [red]{fault}")
    console.print(f"Report: {out / 'report.html'}")
    console.print(f"demo: {'failed' if faults else 'passed'}")
    if faults:
        sys.exit(1)


def _conversations(path: Path | None) -> dict[str, list[Dialog]]:
    if path is None:
        return {lob: make_dialogs(lob, CONVERSATIONS, seed=SEED) for lob in LOBS}
    found: dict[str, list[Dialog]] = {}
    for dialog in read_dialogs(path):
        found.setdefault(dialog.lob, []).append(dialog)
    largest = max(found, key=lambda lob: len(found[lob]))
    for lob in [lob for lob, dialogs in found.items() if len(dialogs) < FEWEST and lob != largest]:
        console.print(f"{lob} has fewer than {FEWEST} conversations: {largest} works them too.")
        found[largest] += [d.model_copy(update={"lob": largest}) for d in found.pop(lob)]
    return found


async def _loop(conversations: dict[str, list[Dialog]], out: Path, *, own: bool) -> Findings:
    findings = Findings()
    console.print("[bold]2. The server: Ray Serve, HAProxy and the vLLM engine")
    config, settings, recipe = _write_config(out, conversations, own)
    async with AsyncExitStack() as stack:
        secrets = await _create_keys(settings)
        server = await stack.enter_async_context(
            DemoServer(config, settings.url, out / "server.log")
        )
        console.print(f"  answers on {settings.url}/v1 after {server.start_s:.0f} s")
        worker = await stack.enter_async_context(Worker())
        client, admin = (
            openai.AsyncOpenAI(base_url=f"{settings.url}/v1", api_key=key, max_retries=0)
            for key in secrets.values()
        )
        stack.push_async_callback(client.close)
        stack.push_async_callback(admin.close)
        every = [dialog for dialogs in conversations.values() for dialog in dialogs]

        console.print(f"[bold]3. Agents work {len(every)} conversations, edit and rate")
        started = time.monotonic()
        with progress("  conversations worked", console) as advance:
            replies = OWN_REPLIES if own else REPLIES_PER_DIALOG
            worked = each(advance, len(every))
            outputs = await replay(client, every, replies=replies, on_dialog=worked)
        console.print(f"  {outputs} outputs given feedback in {time.monotonic() - started:.0f} s")

        console.print("[bold]4. Fine-tune, gate and hot-swap, while traffic runs")
        show_steps(indent="  ")
        async with Traffic(client, every) as traffic:
            for lob in conversations:
                try:
                    findings.outcomes[lob] = await pipeline.run(
                        lob,
                        config=config,
                        settings=settings,
                        recipe=recipe[lob],
                        out=out / "runs",
                        url=settings.url,
                        api_key=secrets["admin"],
                        promote=True,
                        worker=worker,
                    )
                    if not findings.outcomes[lob].rollout:
                        version = findings.outcomes[lob].version
                        console.print(f"  {lob}: {version} is rejected; what serves is unchanged")
                except TooLittleData as exc:
                    findings.skipped[lob] = exc.message
                    console.print(f"  {exc.message}")
            await worker.close()

            console.print("[bold]5. Does each adapter belong to its line of business?")
            findings.other_adapter = await _swap_names(admin, findings.outcomes)

            console.print("[bold]6. Roll back, while traffic runs")
            for lob, outcome in findings.outcomes.items():
                if outcome.rollout:
                    findings.rollbacks.append(await _roll_back(settings.url, secrets["admin"], lob))
        findings.answered, findings.failures = traffic.answered, traffic.failures
    return findings


def _make_base() -> None:
    if demo_recipe.is_made(BASE):  # torch stays out of this process
        console.print(f"  {BASE}, from an earlier run")
        return
    title = "  training it from scratch (kept afterwards)"
    with progress(title, console) as advance:
        from training.demo.base_model import make_base_model

        make_base_model(
            BASE, progress=lambda done, total, loss: advance(done, total, f"loss {loss:.2f}")
        )


def _write_config(
    out: Path, lobs: Mapping[str, Sequence[Dialog]], own: bool
) -> tuple[Path, server_settings.Settings, dict[str, Recipe]]:
    """Derive the demo's configuration from configs/demo.yaml, with its state under `out`."""
    state = out / "state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(out / "runs", ignore_errors=True)
    state.mkdir(parents=True)
    content = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    content |= {
        "http": {"host": "127.0.0.1", "port": ports.free()},
        "store": {"url": f"sqlite:///{state / 'store.sqlite'}"},
        "journal": {"dir": str(state / "journal")},
    }
    content["files"] = {"uri": str(state / "files")}
    content["adapters"] |= {"uri": str(state / "adapters")}
    for lob in lobs:
        content["lobs"].setdefault(lob, {})
    config = state / "config.yaml"
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    recipe = {lob: recipes.load(recipes.find(lob, CONFIG)) for lob in lobs}
    if own:  # a sample may be tiny: it must run, though it proves little
        recipe = {lob: _for_few(lob, recipe[lob], its) for lob, its in lobs.items()}
    return config, server_settings.load(config), recipe


def _for_few(lob: str, rules: Recipe, dialogs: Sequence[Dialog]) -> Recipe:
    """Return a recipe for conversations that are few, and all known: some of them must judge."""
    few = {"min_examples": 2, "min_conversations": FEWEST, "min_holdout": FEWEST - 1}
    few |= {"golden_share": 0}
    curation = rules.curation.model_copy(update=few)
    names = {dialog.conversation_id for dialog in dialogs}
    share = splits.share_for(lob, names, curation)
    curation = curation.model_copy(update={"holdout_share": share})
    return rules.model_copy(update={"curation": curation})


async def _create_keys(settings: server_settings.Settings) -> dict[str, str]:
    """A key for the agents' program and one for who promotes."""
    db = Database(settings.store_address)
    await db.open()
    try:
        return {
            role: (await auth.create(db, name=f"demo {role}", roles=[role], lobs=[auth.ALL]))[0]
            for role in ("service", "admin")
        }
    finally:
        await db.close()


async def _swap_names(client: openai.AsyncOpenAI, outcomes: dict[str, Outcome]) -> dict[str, float]:
    """Mean edit similarity of each line's hold-out under another line's adapter."""
    found = {}
    for lob, outcome in outcomes.items():
        other = next((o for name, o in outcomes.items() if name != lob), None)
        if other is None:
            continue
        holdout: Sequence[Example] = outcome.dataset.holdout
        rules = outcome.recipe.evaluation
        with progress(f"  {lob}: {other.version} answers", console) as advance:
            done = each(advance, len(holdout))
            outputs = await generate.generate(client, other.version, holdout, rules, on_output=done)
        scores = evaluation.score(other.version, holdout, outputs, rules)
        found[lob] = scores.means["edit_similarity"].mean
        own = outcome.candidate.means["edit_similarity"].mean
        console.print(
            f"  {lob}: {own:.3f} with {outcome.version}, {found[lob]:.3f} with {other.version}"
        )
    return found


async def _roll_back(url: str, key: str, lob: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as http:
        answer = await http.post(f"{endpoints.ADAPTERS}/{lob}/rollback")
        answer.raise_for_status()
        done: dict[str, Any] = answer.json()
        body = {"lob": lob, "conversation": [{"role": "customer", "text": "hello"}]}
        after = await http.post(endpoints.SUGGESTIONS, json=body)
        done["answered_by"] = after.headers["x-switchboard-version"]
    console.print(f"  {lob}: {done['from']} → {done['to']} in {done['seconds']:.2f} s")
    return done


def _faults(findings: Findings, gain: float | None) -> list[str]:
    """What keeps the demo from passing; `gain` is the least rise in edit similarity."""
    faults = [f"a request failed: {text}" for text in findings.failures[:3]]
    if not findings.answered:
        faults.append("no traffic was answered")
    faults += [
        f"{done['lob']}: {done['answered_by']} answers after a rollback to {done['to']}"
        for done in findings.rollbacks
        if done["answered_by"] != done["to"]
    ]
    if gain is None:
        return faults
    faults += findings.skipped.values()
    for lob, outcome in findings.outcomes.items():
        base = outcome.base.means["edit_similarity"].mean
        adapter = outcome.candidate.means["edit_similarity"].mean
        if adapter - base < gain:
            faults.append(f"{lob}: edit similarity rose by {adapter - base:.3f}, not by {gain}")
        if not outcome.rollout:
            faults.append(f"{lob}: {outcome.version} was not promoted")
        if findings.other_adapter.get(lob, 1.0) >= adapter:
            faults.append(f"{lob}: another line's adapter does as well as its own")
    return faults
