"""A comparison of models as a person reads it: Markdown, a page with plots, and JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from training.analysis.compare import Line
from training.reports import plots
from training.stats.bootstrap import Interval

QUALITY = ("edit_similarity", "chrf", "unsupported_facts")
HEAD = (
    "model",
    "edit similarity",
    "gain",
    "chrF",
    "unsupported facts",
    "TTFT p50 / p95, ms",
    "latency p50 / p95, ms",
    "output tokens",
    "engine s / conversation",
    "cost / 1000 conversations",
)


@dataclass(frozen=True)
class Report:
    """A table and what it takes for granted."""

    lob: str
    dataset_id: str
    lines: tuple[Line, ...]
    assumptions: tuple[str, ...]


def cells(line: Line, several: bool) -> list[str]:
    """Return a line as a person reads it; the order is that of `HEAD`."""
    cost = "–" if line.cost is None else f"{line.cost:.4g}"  # noqa: RUF001
    similarity, *others = (_words(line.scores.means[name], ".3f") for name in QUALITY)
    return [
        f"{line.model} ({line.server})" if several else line.model,
        similarity,
        "" if line.gain is None else _words(line.gain, "+.3f"),
        *others,
        f"{line.ttft_ms.p50:.0f} / {line.ttft_ms.p95:.0f}",
        f"{line.latency_ms.p50:.0f} / {line.latency_ms.p95:.0f}",
        f"{line.output_tokens:.1f}",
        f"{line.engine_s:.3f}",
        cost,
    ]


def markdown(report: Report) -> str:
    """Return the table with its foot."""
    rows = [HEAD, ("---",) * len(HEAD), *_rows(report)]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in escaped)
    foot = "\n".join(f"- {text}" for text in report.assumptions)
    return f"# {report.lob}: models\n\nDataset `{report.dataset_id}`.\n\n{table}\n\n{foot}\n"


def html(report: Report) -> str:
    """Return one page with its plots inside."""
    environment = Environment(
        loader=PackageLoader("training.reports", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("compare.html.jinja").render(
        report=report, head=HEAD, rows=_rows(report), plot=_plot(report)
    )


def write(report: Report, folder: Path) -> None:
    """Write compare.md, compare.html and compare.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.md").write_text(markdown(report), encoding="utf-8")
    (folder / "compare.html").write_text(html(report), encoding="utf-8")
    content = {
        "lob": report.lob,
        "dataset_id": report.dataset_id,
        "models": [line.as_json() for line in report.lines],
        "assumptions": report.assumptions,
    }
    (folder / "compare.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _rows(report: Report) -> list[list[str]]:
    several = len({line.server for line in report.lines}) > 1
    return [cells(line, several) for line in report.lines]


def _plot(report: Report) -> str:
    several = len({line.server for line in report.lines}) > 1
    names = [f"{line.model}\n{line.server}" if several else line.model for line in report.lines]

    def times(kind: str) -> dict[str, Interval | None]:
        lines = zip(names, report.lines, strict=True)
        spans = {name: getattr(line, kind) for name, line in lines}
        return {model: Interval(t.p50, t.p50, t.p95, 0.95, 1) for model, t in spans.items()}

    quality: dict[str, Interval | None] = {
        name: line.scores.means["edit_similarity"]
        for name, line in zip(names, report.lines, strict=True)
    }
    return plots.intervals(
        [
            ("Edit similarity", {"": quality}),
            ("p50 to p95, ms", {"TTFT": times("ttft_ms"), "latency": times("latency_ms")}),
        ]
    )


def _words(interval: Interval, form: str) -> str:
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
