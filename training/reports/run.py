"""One run as a person reads it: Markdown for a review, HTML for a browser, JSON for a program.

The HTML is one file with its plots inside, so that it can be mailed or archived.
"""

import base64
import difflib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from serving.store.database import Database
from training.data import selection
from training.errors import DatasetError
from training.evaluation.scores import Scores
from training.metrics.text import METRICS, edit_similarity
from training.reports import search
from training.reports.outcome import Outcome
from training.stats.bootstrap import Interval
from training.trainers.job import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 6
FILES = ("report.md", "report.html", "report.json")
"""What quotes examples."""
PLOTS_A_ROW = 4
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A stretch of a text, and whether it differs from the agent's."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Sample:
    """One held-out example as the report shows it."""

    interaction_id: str
    task: str
    prompt: str
    final: str
    shown: str
    candidate: str
    shown_pieces: tuple[Piece, ...]
    candidate_pieces: tuple[Piece, ...]
    final_pieces: tuple[Piece, ...]
    shown_similarity: float
    candidate_similarity: float


def figures(
    training: Result | None, base: Scores, live: Scores, candidate: Scores
) -> dict[str, Any]:
    """Return what the registry keeps with a version: means by metric, then all the detail."""
    flat = {name: candidate.means[name].mean for name in METRICS}
    flat |= {f"{name}_live": live.means[name].mean for name in METRICS}
    flat |= {f"{name}_base": base.means[name].mean for name in METRICS}
    return {
        **flat,
        "held_out": len(candidate.outputs),
        "candidate": candidate.as_json(),
        "live": live.as_json(),
        "base": base.as_json(),
        "training": None if training is None else _training(training),
    }


def write(outcome: Outcome) -> None:
    """Write report.md, report.html, report.json and the plots into the run's folder."""
    folder = outcome.folder
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"metrics.png": _metrics_plot(outcome)}
    if outcome.training is not None:
        plots["loss.png"] = _loss_plot(outcome.training)
    plots |= search.plots(outcome.search)
    for name, png in plots.items():
        (folder / name).write_bytes(png)
    environment = Environment(
        loader=PackageLoader("training.reports", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = {
        "outcome": outcome,
        "metrics": METRICS,
        "columns": _columns(outcome),
        "samples": samples(outcome),
        "trials": search.as_json(outcome.search),
        "recipe": yaml.safe_dump(outcome.recipe.model_dump(mode="json"), sort_keys=False),
        "images": {
            name: f"data:image/png;base64,{base64.b64encode(png).decode()}"
            for name, png in plots.items()
        },
        "fence": _fence,
        "rate": _rate,
    }
    for name in FILES[:2]:
        text = environment.get_template(f"{name}.jinja").render(content)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / FILES[2]).write_text(json.dumps(_as_json(outcome), indent=1) + "\n", encoding="utf-8")


async def publish(db: Database, outcome: Outcome) -> None:
    """Write the report, unless rows of its dataset were erased meanwhile.

    An erasure replaces the dataset and then looks for reports: of the two at once one removes what
    was written, because the check comes after the writing as well.

    Raises:
        DatasetError: Rows were erased; there is no report.
    """
    await selection.require_whole(db, outcome.dataset)
    write(outcome)
    try:
        await selection.require_whole(db, outcome.dataset)
    except DatasetError:
        for name in FILES:
            (outcome.folder / name).unlink(missing_ok=True)
        raise


def samples(outcome: Outcome) -> list[Sample]:
    """Choose examples from the candidate's best to its worst, evenly, and mark the differences."""
    holdout = outcome.dataset.holdout
    similarity = outcome.candidate.values["edit_similarity"]
    order = sorted(range(len(holdout)), key=lambda i: (-similarity[i], i))
    count = min(SAMPLES, len(order))
    chosen = [order[round(k * (len(order) - 1) / max(1, count - 1))] for k in range(count)]
    out = []
    for index in chosen:
        example, text = holdout[index], outcome.candidate.outputs[index].text
        out.append(
            Sample(
                interaction_id=example.interaction_id,
                task=example.task,
                prompt="\n".join(f"{m.role}: {m.content}" for m in example.messages),
                final=example.target,
                shown=example.shown,
                candidate=text,
                shown_pieces=pieces(example.shown, example.target),
                candidate_pieces=pieces(text, example.target),
                final_pieces=pieces(example.target, example.shown),
                shown_similarity=edit_similarity(example.shown, example.target),
                candidate_similarity=similarity[index],
            )
        )
    return out


def pieces(text: str, final: str) -> tuple[Piece, ...]:
    """Cut a text where it differs from the agent's, by words.

    Args:
        text: The model's text.
        final: The agent's.

    Returns:
        Pieces that join to `text`.
    """
    ours, theirs = _WORD.findall(text), _WORD.findall(final)
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    return tuple(
        Piece("".join(ours[a:b]), changed=tag != "equal")
        for tag, a, b, _, _ in matcher.get_opcodes()
        if b > a
    )


def _columns(outcome: Outcome) -> list[tuple[str, Scores]]:
    """Return the models compared, each once, with their part."""
    columns = [("base", outcome.base)]
    if outcome.live.model != outcome.base.model:
        columns.append(("live", outcome.live))
    return [*columns, ("candidate", outcome.candidate)]


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "lob": outcome.lob,
        "version": outcome.version,
        "accepted": outcome.decision.accepted,
        "decision": outcome.decision.as_json(),
        "differences": {name: asdict(value) for name, value in outcome.differences.items()},
        "dataset_id": outcome.dataset.id,
        **figures(outcome.training, outcome.base, outcome.live, outcome.candidate),
        **outcome.guards.as_json(),
        "rollout": outcome.rollout,
        "seconds": outcome.seconds,
        "cost": asdict(outcome.cost),
        "search": search.as_json(outcome.search),
    }


def _training(result: Result) -> dict[str, Any]:
    content = asdict(result)
    del content["adapter"]
    return content


def _metrics_plot(outcome: Outcome) -> bytes:
    columns = _columns(outcome)
    rows = -(-len(METRICS) // PLOTS_A_ROW)
    figure = _figure(width=12, height=3 * rows)
    axes = figure.subplots(rows, PLOTS_A_ROW, squeeze=False).flat
    for axis, (name, metric) in zip(axes, METRICS.items(), strict=False):
        for x, (_, scores) in enumerate(columns):
            interval = scores.means[name]
            below = max(0.0, interval.mean - interval.low)
            above = max(0.0, interval.high - interval.mean)
            axis.errorbar(x, interval.mean, yerr=[[below], [above]], fmt="o", capsize=4)
        axis.set_xticks(range(len(columns)), [part for part, _ in columns])
        axis.set_xlim(-0.5, len(columns) - 0.5)
        axis.set_title(f"{metric.title} ({metric.better} is better)", fontsize=9)
        axis.grid(axis="y", alpha=0.3)
    return _png(figure)


def _loss_plot(result: Result) -> bytes:
    figure = _figure(width=6, height=3)
    axis = figure.subplots()
    axis.plot([step for step, _ in result.losses], [loss for _, loss in result.losses])
    if result.validation_losses:
        steps, losses = zip(*result.validation_losses, strict=True)
        axis.plot(steps, losses, "o-", label="validation conversations")
        axis.legend()
    axis.set_xlabel("optimizer step")
    axis.set_ylabel("loss, nats" if result.margins else "loss, nats per token")
    axis.grid(alpha=0.3)
    return _png(figure)


def _figure(*, width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _rate(interval: Interval) -> str:
    return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def _fence(texts: Sequence[str]) -> str:
    """Return a Markdown fence that no text can close."""
    longest = max((len(run) for text in texts for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)
