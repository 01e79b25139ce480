"""The impact report: read from the store, shown as a table, JSON or a page."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from serving.config.settings import Settings
from serving.store import interactions, routes
from serving.store.database import Database
from serving.store.records import Rollout, Served
from training.analysis import handling, impact, impact_causal, impact_holdback, impact_star
from training.analysis.handling import Sources
from training.analysis.impact import ALL, POSITIONS, Position, Row
from training.analysis.impact_causal import Comparison
from training.analysis.impact_holdback import Effect
from training.data.formats import star
from training.errors import DatasetError
from training.reports import plots
from training.stats.bootstrap import Interval

DAY_S = 86_400.0
NOTES = (
    "Used: sent as it was, or edited with at least half of it kept. Of judged: those that an agent "
    "said something about; of shown: as if silence meant not used.",
    "Saved: median handling time of answers that were not used, less that of used ones, at one "
    "position; `all` is standardised over positions. Observational, so not yet a saving: agents "
    "choose what they use, and part of it may be that easy replies are both used and quick. Turns "
    "that are held back by chance (lobs.NAME.holdback) say what showing saves.",
    "Keys: characters of the final text less the edits that led to it, per judged answer.",
    "Brackets: 95 % intervals; conversations, not answers, are taken as independent.",
)
CAUSAL = (
    "By the canary's coin: which version answered was chance, so these differences are the "
    "version's doing. All judged answers count, used or not."
)


@dataclass(frozen=True)
class Report:
    """One line of business.

    Args:
        lob: Its name.
        since: The earliest answer asked for; 0 is all.
        rows: By version and position.
        comparisons: Canaries with enough conversations in both arms, oldest first.
        positions: Those that its rows may have, in their order.
        notes: What its figures mean.
        difference: What its rows' `saved_s` is called.
        sources: By which witnesses answers were seen and timed.
        effect: Shown against held-back turns; None where none was held back.
    """

    lob: str
    since: float
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    positions: tuple[Position, ...] = POSITIONS
    notes: tuple[str, ...] = NOTES
    difference: str = "saved, s"
    sources: Sources | None = None
    effect: Effect | None = None

    @property
    def head(self) -> tuple[str, ...]:
        """The titles of its columns."""
        return (*HEAD, self.difference)

    @property
    def said(self) -> list[str]:
        """What there is to say beside the rows, in sentences."""
        return [one.words() for one in (self.sources, self.effect) if one is not None]

    def as_json(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {
            "lob": self.lob,
            "since": self.since,
            "rows": [row.as_json() for row in self.rows],
            "canaries": [one.as_json() for one in self.comparisons],
            "sources": self.sources and asdict(self.sources),
            "holdback": self.effect and self.effect.as_json(),
            "notes": [*self.notes, *([CAUSAL] if self.comparisons else [])],
        }


async def read(
    settings: Settings,
    lobs: Sequence[str],
    *,
    days: float | None = None,
    version: str | None = None,
    window_s: float = 1800.0,
) -> list[Report]:
    """Read the store and return a report of each line of business.

    Args:
        settings: The server's configuration.
        lobs: The lines of business.
        days: Only answers of so many last days.
        version: Only rows of this version.
        window_s: A canary's conversation counts once, so long after its first turn.
    """
    now = time.time()
    since = 0.0 if days is None else now - days * DAY_S
    db = Database(settings.store_address)
    await db.open()
    try:
        reports = []
        for lob in lobs:
            served = await interactions.served(db, lob=lob, since=since)
            history = await routes.history(db, lob)
            one = await asyncio.to_thread(
                report, lob, served, history, settings.served_name, since, now, window_s
            )
            if version is not None:
                rows = tuple(row for row in one.rows if row.version == version)
                arms = tuple(c for c in one.comparisons if version in (c.canary, c.control))
                one = replace(one, rows=rows, comparisons=arms)
            reports.append(one)
        return reports
    finally:
        await db.close()


def report(
    lob: str,
    served: Sequence[Served],
    history: Sequence[Rollout],
    base: str,
    since: float,
    now: float,
    window_s: float,
) -> Report:
    """Return a line's report; pure.

    Args:
        lob: The line of business.
        served: Its answers with their feedback.
        history: Its rollouts, oldest first, from the beginning.
        base: The base model's served name.
        since: The earliest answer in `served`.
        now: Seconds since the epoch.
        window_s: See `read`.
    """
    found = impact.answers(served, lob)
    compared = [
        impact_causal.compare(trial, end or now, served, found, window_s=window_s)
        for trial, end in impact_causal.trials(lob, history, base)
        if trial.began >= since
    ]
    rows = tuple(impact.table(found))
    return Report(
        lob,
        since,
        rows,
        tuple(one for one in compared if one is not None),
        sources=handling.sources([(one.seen_by, one.timed_by) for one in found]),
        effect=impact_holdback.effect(impact_holdback.turns(served, lob)),
    )


def of_star(file: Path, domain: str | None = None) -> Report:
    """Return the report of STAR's own agents, who were shown other suggestions than ours.

    Args:
        file: STAR's file, plain or gzip.
        domain: Only dialogs about this and nothing else.

    Raises:
        DatasetError: The file is not STAR's, or no dialog with a reply is about the domain alone.
    """
    found = list(star.read(file))
    dialogs = [one for one in impact_star.about(found, domain) if one.replies]
    if not dialogs:
        known = ", ".join(sorted({name for one in found for name in one.domains}))
        raise DatasetError(
            f"{file}: no dialog with a reply is about {domain or 'anything'} alone. Fix: name one "
            f"of its domains: {known}"
        )
    answers = impact_star.answers(dialogs)
    rows = tuple(impact.table(answers, positions=impact_star.POSITIONS))
    said = (impact_star.words(rows, dialogs), *impact_star.NOTES)
    return Report(
        domain or "all dialogs",
        0.0,
        rows,
        (),
        positions=impact_star.POSITIONS,
        notes=said,
        difference="difference, s",
    )


def cells(row: Row) -> list[str]:
    """Return a row as a person reads it; the order is that of `Report.head`."""
    return [
        row.version,
        row.position,
        str(row.conversations),
        f"{row.judged} of {row.shown}",
        words(row.usage, ".0%"),
        f"{row.usage_of_shown:.0%}",
        words(row.distance, ".2f"),
        words(row.keystrokes, ".0f"),
        seconds(row.used_s),
        seconds(row.unused_s),
        words(row.saved_s, "+.1f"),
    ]


HEAD = (
    "version",
    "position",
    "conversations",
    "judged",
    "used, of judged",
    "of shown",
    "edit distance",
    "keys saved",
    "used, s",
    "not used, s",
)


def words(interval: Interval | None, form: str) -> str:
    """Return a mean with its interval, or a dash."""
    if interval is None:
        return "–"  # noqa: RUF001
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def seconds(value: float | None) -> str:
    """Return a time, or a dash."""
    return "–" if value is None else f"{value:.1f}"  # noqa: RUF001


def notes(reports: Sequence[Report]) -> list[str]:
    """Return what the reports' figures mean, each note once."""
    return list(dict.fromkeys(note for one in reports for note in one.notes))


def html(reports: Sequence[Report]) -> str:
    """Return one page with its plots inside."""
    environment = Environment(
        loader=PackageLoader("training.reports", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("impact.html.jinja").render(
        reports=reports,
        cells=cells,
        words=words,
        notes=notes(reports),
        causal=CAUSAL,
        plots={one.lob: _plot(one) for one in reports if one.rows},
        when=lambda at: time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)),
    )


def write(reports: Sequence[Report], file: Path) -> None:
    """Write the page; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(html(reports), encoding="utf-8")


def _plot(one: Report) -> str:
    usage: dict[str, dict[str, Interval | None]] = {}
    saved: dict[str, dict[str, Interval | None]] = {}
    for row in one.rows:
        if row.version != ALL:
            usage.setdefault(row.version, {})
            saved.setdefault(row.version, {})
    by_place = {(row.version, row.position): row for row in one.rows}
    for where in (*one.positions, ALL):
        for version in usage:
            found = by_place.get((version, where))
            usage[version][where] = found.usage if found else None
            saved[version][where] = found.saved_s if found else None
    return plots.intervals(
        [
            ("Usage rate, of judged answers", usage),
            ("Seconds, not used less used", saved),
        ]
    )
