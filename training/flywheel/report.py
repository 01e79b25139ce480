"""A cycle as a person reads it: one Markdown page, rewritten after each of its steps."""

import os
from pathlib import Path

from serving.store.records import Cycle
from training.flywheel.schedule import clock

NAME = "cycle.md"


def folder(cycle: Cycle, out: Path) -> Path:
    """Return where a cycle's report lies."""
    return out / "cycles" / f"{cycle.lob}-{cycle.number:04}"


def write(cycle: Cycle, out: Path) -> Path:
    """Write a cycle's report and return its file."""
    file = folder(cycle, out) / NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".tmp")
    partial.write_text(text(cycle, out), encoding="utf-8")
    partial.replace(file)
    return file


def text(cycle: Cycle, out: Path) -> str:
    """Return a cycle's report.

    Args:
        cycle: The cycle.
        out: Folder of the runs, to which the page links.
    """
    until = "goes on" if cycle.is_open else f"took {cycle.updated_at - cycle.created_at:.0f} s"
    lines = [
        f"# {cycle.lob}, cycle {cycle.number}: {cycle.state.replace('_', ' ')}",
        "",
        f"Began {clock(cycle.created_at)}, {until}. Why then: {cycle.reason}.",
        "",
    ]
    if cycle.error:
        lines += [f"**Failed, attempt {cycle.attempts}**: {_plain(cycle.error)}", ""]
    if cycle.retry_at is not None:
        lines += [f"Tried again at {clock(cycle.retry_at)}.", ""]
    lines += ["| what | |", "|---|---|"]
    if cycle.dataset_id:
        lines.append(f"| dataset | `{cycle.dataset_id}` |")
    if cycle.version:
        report = out / cycle.version / "report.html"
        link = Path(os.path.relpath(report, folder(cycle, out))).as_posix()
        lines.append(f"| version | {cycle.version}; [how the gate judged it]({link}) |")
        lines.append(f"| canary | `switchboard canary show {cycle.version}` |")
    lines += ["", "## What happened", ""]
    lines += [f"- {clock(e['at'])}, {e['state']}: {_plain(e['text'])}" for e in cycle.log]
    return "\n".join(lines) + "\n"


def _plain(said: str) -> str:
    """Return text that cannot break out of its line, or be read as HTML."""
    return " ".join(said.split()).replace("<", "&lt;")
