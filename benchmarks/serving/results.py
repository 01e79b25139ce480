"""The files of a serving benchmark: the newest JSON and table, and earlier runs beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
TABLE = "serving.csv"
COLUMNS = (
    "round",
    "turn",
    "target",
    "workload",
    "concurrency",
    "requests",
    "seconds",
    "requests_per_s",
    "output_tokens_per_s",
    "goodput_per_s",
    *(f"{time}_ms_p{p}" for time in ("ttft", "itl", "e2el") for p in (50, 95, 99)),
    "cpu_s_per_request_beside_engine",
    "rss_mib_beside_engine",
    "client_cpu_s_per_request",
    "commit",
    "time",
)
_TEXT = {"target", "workload", "commit", "time"}
_WHOLE = {"round", "turn", "concurrency", "requests"}


def write_json(file: Path, result: dict[str, Any]) -> None:
    """Write a result; what was there before is kept beside it under its own date."""
    if file.exists():
        date = str(json.loads(file.read_text()).get("time", ""))[:10] or "undated"
        file.rename(dated(file, date))
    text = json.dumps(result | {"runs": []}, indent=1)
    runs = ",\n".join(f"  {json.dumps(run)}" for run in result["runs"])
    file.write_text(text.replace('"runs": []', f'"runs": [\n{runs}\n ]') + "\n")


def dated(file: Path, date: str) -> Path:
    """A name for an earlier result: ``serving-2026-11-23.json``, then ``…-2.json``, …"""
    number = 1
    while True:
        tail = "" if number == 1 else f"-{number}"
        name = file.with_name(f"{file.stem}-{date}{tail}{file.suffix}")
        if not name.exists():
            return name
        number += 1


def write_table(file: Path, runs: Iterable[dict[str, Any]]) -> None:
    """Write the long table: a row for each server, workload, concurrency and round."""
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(runs)


def read_table(file: Path) -> list[dict[str, Any]]:
    """The long table, with numbers as numbers; none when it was never written."""
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return [
            {key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(opened)
        ]


def _value(column: str, text: str) -> Any:
    if column in _TEXT:
        return text
    return int(text) if column in _WHOLE else float(text)
