"""The demo's report: a table on the terminal, report.json for programs, report.html for people."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from training.demo.run import Findings
from training.reports.outcome import Outcome
from training.trainers.job import Result


def _trained(outcome: Outcome) -> Result:
    """The fine-tuning's figures; every version of the demo is trained."""
    assert outcome.training is not None  # noqa: S101
    return outcome.training


def figures(findings: Findings) -> dict[str, Any]:
    """What was measured, by line of business and overall."""
    lobs = {
        lob: {
            "version": outcome.version,
            "accepted": outcome.decision.accepted,
            "edit_similarity_base": outcome.base.means["edit_similarity"].mean,
            "edit_similarity_adapter": outcome.candidate.means["edit_similarity"].mean,
            "edit_similarity_other_adapter": findings.other_adapter.get(lob),
            "held_out": len(outcome.dataset.holdout),
            "examples": len(outcome.dataset.train),
            "training_seconds": _trained(outcome).seconds,
        }
        for lob, outcome in findings.outcomes.items()
    }
    swaps = findings.swap_seconds()
    return {
        **lobs,
        "skipped": findings.skipped,
        "requests": findings.answered + len(findings.failures),
        "failed_requests": len(findings.failures),
        "swap_seconds": max(swaps) if swaps else None,
        "rollbacks": findings.rollbacks,
        "wall_seconds": findings.wall_seconds,
    }


def show(findings: Findings, console: Console) -> None:
    """Print the outcome as a table."""
    table = Table("", "held out", "base", "adapter", "gain", "another line's adapter")
    for lob, outcome in findings.outcomes.items():
        base = outcome.base.means["edit_similarity"].mean
        adapter = outcome.candidate.means["edit_similarity"].mean
        other = findings.other_adapter.get(lob)
        table.add_row(
            lob,
            str(len(outcome.dataset.holdout)),
            f"{base:.3f}",
            f"{adapter:.3f}",
            f"{adapter - base:+.3f}",
            "" if other is None else f"{other:.3f}",
        )
    console.print("[bold]Edit similarity to the agent's final text, on held-out conversations")
    console.print(table)
    swaps = ", ".join(f"{seconds:.2f} s" for seconds in findings.swap_seconds()) or "none"
    console.print(f"Hot swaps: {swaps}")
    total = findings.answered + len(findings.failures)
    console.print(f"Failed requests: {len(findings.failures)} of {total}")
    console.print(f"Wall time: {findings.wall_seconds:.0f} s")


def write(findings: Findings, out: Path) -> None:
    """Write report.json and report.html."""
    content = figures(findings)
    (out / "report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("training.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    html = environment.get_template("demo.html.jinja").render(
        findings=findings, figures=content, plot=_plot(findings)
    )
    (out / "report.html").write_text(html, encoding="utf-8")


def _plot(findings: Findings) -> str:
    """A bar for base, other adapter and own adapter of each line, as a data URL."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for x, (lob, outcome) in enumerate(findings.outcomes.items()):
        bars = [("base", outcome.base.means["edit_similarity"])]
        bars.append((outcome.version, outcome.candidate.means["edit_similarity"]))
        for i, (name, interval) in enumerate(bars):
            error = [[interval.mean - interval.low], [interval.high - interval.mean]]
            bar = left.bar(x + 0.3 * i, interval.mean, 0.28, yerr=error, capsize=3)
            left.bar_label(bar, [f"{name}\n{interval.mean:.2f}"], fontsize=7, label_type="center")
        if lob in findings.other_adapter:
            bar = left.bar(x + 0.6, findings.other_adapter[lob], 0.28, color="lightgrey")
            left.bar_label(bar, ["other's"], fontsize=7, label_type="center")
        right.plot(
            [step for step, _ in _trained(outcome).losses],
            [loss for _, loss in _trained(outcome).losses],
            label=lob,
        )
    left.set_xticks([x + 0.3 for x in range(len(findings.outcomes))], list(findings.outcomes))
    left.set_title("Edit similarity, held out", fontsize=9)
    right.set_title("Fine-tuning loss", fontsize=9)
    right.set_xlabel("step", fontsize=8)
    if findings.outcomes:
        right.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
