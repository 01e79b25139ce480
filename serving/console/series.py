"""The few series of a page of metrics that people look at."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

OF_REPLICA = {
    "switchboard_requests_in_flight": "in_flight",
    "switchboard_adapters_loaded": "adapters",
    "switchboard_store_up": "store_up",
    "switchboard_journal_backlog_bytes": "backlog",
    "switchboard_capture_lost_total": "lost",
}
OF_LINE = {
    "switchboard_requests_queued": "queued",
    "switchboard_places_taken": "places",
    "switchboard_requests_rejected_total": "rejected",
    "switchboard_review_queue_depth": "reviews",
}
BREAKER = "switchboard_breaker_state"
_SAME_EVERYWHERE = {"reviews"}


class Sample(NamedTuple):
    """One value."""

    name: str
    labels: Mapping[str, str]
    value: float


def read(page: str, names: Iterable[str]) -> list[Sample]:
    """Return the samples of some series.

    Only their lines are parsed, since a whole page takes time from the replica's requests.

    Args:
        page: In Prometheus' text format.
        names: The series'.
    """
    wanted = tuple(names)
    lines = [line for line in page.split("\n") if line.startswith(wanted)]
    return [
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for sample in family.samples
        if sample.name in wanted
    ]


def by(label: str, columns: Mapping[str, str], samples: Iterable[Sample]) -> dict[str, Any]:
    """Return a table: a row for each value of a label, summed over the others.

    Args:
        label: Such as `replica`; a sample without it is of the row "".
        columns: Each series' column.
        samples: The values.
    """
    rows: dict[str, dict[str, float]] = {}
    for sample in samples:
        if (column := columns.get(sample.name)) is None:
            continue
        row = rows.setdefault(sample.labels.get(label, ""), dict.fromkeys(columns.values(), 0.0))
        if column in _SAME_EVERYWHERE:
            row[column] = max(row[column], sample.value)
        else:
            row[column] += sample.value
    return dict(sorted(rows.items()))


def open_breakers(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    """Return the (replica, target) of circuit breakers that are not closed."""
    return sorted(
        (sample.labels.get("replica", ""), sample.labels.get("target", ""))
        for sample in samples
        if sample.name == BREAKER and sample.value > 0
    )
