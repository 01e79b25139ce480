"""From the runs of a benchmark to ratios with a name, a median and extremes; no I/O.

Servers are compared round by round, in the same cell (workload and concurrency): machines drift
between rounds, so a ratio within one is steadier than a ratio of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Ratio = dict[str, float | int]
OFF = "_kernels_off"


def spread(values: Sequence[float]) -> Ratio:
    """Median, extremes and number of rounds."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": len(values),
    }


def pairs(targets: Iterable[str]) -> list[tuple[str, str, str]]:
    """What is compared: (prefix of the ratio's name, the one above, the one below).

    Switchboard against each other server, each other server against bare vLLM, and a server with
    the plug-in against itself without.
    """
    names = sorted(set(targets))
    plain = [name for name in names if not name.endswith(OFF)]
    found = [("", "switchboard", below) for below in plain if below != "switchboard"]
    found += [
        (f"{above}_", above, "vllm") for above in plain if above not in {"switchboard", "vllm"}
    ]
    for name in names:
        if name.endswith(OFF):
            above = name.removesuffix(OFF)
            found.append(("" if above == "switchboard" else f"{above}_", above, name))
    return [(p, above, below) for p, above, below in found if {above, below} <= set(names)]


def label(prefix: str, above: str, below: str, workload: str, concurrency: int, kind: str) -> str:
    """A ratio's name; `kind` is ``throughput_vs`` or ``ttft_ms_over``.

    Short replies need no suffix: ``throughput_vs_vllm_c32`` is theirs.
    """
    other = "kernels_off" if below == above + OFF else below
    tail = "" if workload == "suggest" else f"_{workload}"
    return f"{prefix}{kind}_{other}_c{concurrency}{tail}"


def ratios(runs: Iterable[Mapping[str, Any]]) -> dict[str, Ratio]:
    """All ratios that the runs allow.

    Args:
        runs: Each with ``round``, ``target``, ``workload``, ``concurrency``, ``requests_per_s``
            and ``ttft_ms_p50``.

    Returns:
        By name: of throughputs the quotient, of times to the first token the difference in
        milliseconds, over the rounds in which both servers answered.
    """
    cells: dict[tuple[str, int], dict[str, dict[int, Mapping[str, Any]]]] = {}
    for run in runs:
        cell = cells.setdefault((run["workload"], run["concurrency"]), {})
        cell.setdefault(run["target"], {})[run["round"]] = run
    found: dict[str, Ratio] = {}
    for (workload, concurrency), cell in cells.items():
        for prefix, above, below in pairs(cell):
            rounds = sorted(cell[above].keys() & cell[below].keys())
            if not rounds:
                continue
            both = [(cell[above][number], cell[below][number]) for number in rounds]
            name = label(prefix, above, below, workload, concurrency, "throughput_vs")
            found[name] = spread([a["requests_per_s"] / b["requests_per_s"] for a, b in both])
            name = label(prefix, above, below, workload, concurrency, "ttft_ms_over")
            found[name] = spread([a["ttft_ms_p50"] - b["ttft_ms_p50"] for a, b in both])
    return found


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The order of a turn: each server gets to go first, and follows another one each time."""
    shift = turn % len(names)
    order = [*names[shift:], *names[:shift]]
    return order[::-1] if (turn // len(names)) % 2 else order
