"""Serving benchmark: ``make bench-serving``.

    python benchmarks/serving/run.py [--targets a,b] [--workloads a,b] [--concurrency 1,8,32,64]
                                     [--rounds 3] [--seconds 4 | --requests N] [--results DIR]

Drives bare `vllm serve`, ray.serve.llm (HAProxy on and off), Switchboard with everything on and
LiteLLM's proxy, all with the same engine settings and environment, with vLLM's own client. In each
cell (workload, concurrency) of each round the servers take turns, in an order that rotates. All are
started once and stay up; but only the one being measured runs, the others are stopped with SIGSTOP,
so that an idle one costs nothing. (Restarting seven servers for each round would take 20 minutes,
and three idle Ray clusters use CPU all the time.) A server takes 2.5 to 4.5 GiB, so those that
serve no adapters make room for those without our kernels before the workload with adapters.

Client, gateway and engine share the machine's cores. A gateway's cost therefore shows in full, as
engine time lost; where the engine has an accelerator of its own it costs less than here.

Writes ``serving.json`` (ratios by name, every run, what was skipped and why, environment, commit;
the earlier one stays beside it under its date), the long table ``serving.csv``, and the plots.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plot
import psutil
import ratios
import results
import targets
from client import Client
from drive import drive, exit_on_sigterm, prepare, say
from target import ROOT, Target
from workloads import CALIBRATION_ROUND, WARM_ROUND, WORKLOADS, requests, seed

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

FAILED = "failed: "
NEEDED_MIB = 5000  # a server takes less; one that finds no memory would disturb all others


def start(
    client: Client,
    setting: targets.Setting,
    names: list[str],
    top: int,
    servers: dict[str, Target],
    skipped: dict[str, str],
) -> None:
    """Start, warm and pause the servers that are not up, one after the other.

    Args:
        client: To warm them with.
        setting: What they share.
        names: Which.
        top: The highest concurrency that will be measured.
        servers: Gets each that is started.
        skipped: Gets the reason for each that is not.
    """
    from serving import ports

    for name in names:
        if name in servers or name in skipped:
            continue
        available = psutil.virtual_memory().available >> 20
        begun = time.monotonic()
        try:
            if available < NEEDED_MIB:
                raise targets.Missing(f"only {available} MiB of memory are left")
            target = targets.MAKERS[name](setting, ports.free(), name)
            try:
                target.start(setting.folder / f"{name}.log")
                for workload in ("suggest", *(["adapters"] if target.adapters else [])):
                    number = seed(WARM_ROUND, workload, top)
                    drive(client, target, workload, top, max(16, 2 * top), number)
            except BaseException:
                target.stop()
                raise
        except (targets.Missing, RuntimeError) as exc:
            skipped[name] = str(exc)
            say(f"{name} is skipped: {exc}")
            continue
        target.pause()
        servers[name] = target
        took = time.monotonic() - begun
        say(f"{name} answers after {took:.0f} s and takes {target.memory_mib():.0f} MiB")


def counts(client: Client, vllm: Target, options: argparse.Namespace) -> dict[tuple[str, int], int]:
    """Requests of each cell: as many as bare vLLM answers in the time asked for."""
    found = {}
    vllm.resume()
    for workload in options.workloads:
        for concurrency in options.concurrency:
            number = options.requests
            if not number:
                some = requests(0, 0, concurrency)
                seed_ = seed(CALIBRATION_ROUND, workload, concurrency)
                row = drive(client, vllm, workload, concurrency, some, seed_)
                number = requests(row["requests_per_s"], options.seconds, concurrency)
            found[workload, concurrency] = number
    vllm.pause()
    return found


def measure(
    client: Client,
    servers: list[Target],
    cells: list[tuple[int, str, int]],
    sizes: dict[tuple[str, int], int],
    skipped: dict[str, str],
) -> list[dict[str, Any]]:
    """Take the servers through the cells in turns.

    Args:
        client: vLLM's.
        servers: Paused ones.
        cells: Round, workload and concurrency of each.
        sizes: Requests by workload and concurrency.
        skipped: Gets the reason for each cell that fails, which has no row then.

    Returns:
        Rows of the table.
    """
    total, done, begun = len(servers) * len(cells), 0, time.monotonic()
    version, runs = commit(), []
    by_name = {server.name: server for server in servers}
    for turn, cell in enumerate(cells):
        number, workload, concurrency = cell
        for name in ratios.rotated(list(by_name), turn):
            server = by_name[name]
            where = f"round {number} {workload} c{concurrency} {name}"
            try:
                server.resume()
                row = drive(client, server, workload, concurrency, sizes[cell[1:]], seed(*cell))
                row = {"round": number, "turn": turn, **row}
                runs.append(row | {"commit": version, "time": now()})
                note = f"{row['requests_per_s']:.1f} req/s, TTFT p50 {row['ttft_ms_p50']:.0f} ms"
            except RuntimeError as exc:
                skipped[where] = note = f"{FAILED}{exc}"
            server.pause()
            done += 1
            left = (time.monotonic() - begun) / done * (total - done) / 60
            say(f"{done}/{total} {where}: {note}; {left:.0f} min left in this phase")
    return runs


def phase(
    client: Client,
    setting: targets.Setting,
    workloads: list[str],
    options: argparse.Namespace,
    servers: dict[str, Target],
    skipped: dict[str, str],
) -> list[dict[str, Any]]:
    """Measure workloads that the same servers take part in; stop those that do not.

    Raises:
        SystemExit: Bare vLLM did not start.
    """
    names = []
    for name in options.targets:
        reason = targets.left_out(name, WORKLOADS[workloads[0]].adapters)
        if reason:
            skipped[f"{name}: {', '.join(workloads)}"] = reason
            if name in servers:
                servers.pop(name).stop()
        else:
            names.append(name)
    start(client, setting, names, max(options.concurrency), servers, skipped)
    if "vllm" not in servers:
        raise SystemExit("nothing can be compared without bare vLLM")
    chosen = argparse.Namespace(**vars(options) | {"workloads": workloads})
    sizes = counts(client, servers["vllm"], chosen)
    cells = [
        (number, workload, concurrency)
        for number in range(options.rounds)
        for workload in workloads
        for concurrency in options.concurrency
    ]
    return measure(client, [servers[n] for n in names if n in servers], cells, sizes, skipped)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serving benchmark; see the head of this file.")
    names = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument(
        "--targets",
        type=names,
        default=targets.DEFAULT,
        help="also: ray_llm_direct, switchboard_python",
    )
    parser.add_argument("--workloads", type=names, default=list(WORKLOADS))
    parser.add_argument(
        "--concurrency", type=lambda text: [int(c) for c in text.split(",")], default=[1, 8, 32, 64]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a cell, at bare vLLM's pace")
    parser.add_argument("--requests", type=int, help="of a cell, instead; a multiple of 4")
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    options = parser.parse_args()
    unknown = {*options.targets} - {*targets.MAKERS} | {*options.workloads} - {*WORKLOADS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.targets = ["vllm", *(name for name in options.targets if name != "vllm")]
    return options


def main() -> None:
    """Measure, write the results, draw."""
    options = parse()
    exit_on_sigterm()
    skipped: dict[str, str] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        setting = prepare(options.config, folder)
        servers: dict[str, Target] = {}
        try:
            with Client(folder / "client.log") as client:
                runs = []
                for adapters in (False, True):
                    chosen = [n for n in options.workloads if WORKLOADS[n].adapters == adapters]
                    if chosen:
                        runs += phase(client, setting, chosen, options, servers, skipped)
        finally:
            with ThreadPoolExecutor(max(1, len(servers))) as pool:
                list(pool.map(Target.stop, servers.values()))
    result = {
        "ratios": ratios.ratios(runs),
        "environment": environment() | {"litellm": targets.litellm_version()},
        "commit": commit(),
        "time": now(),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "workloads": {name: vars(WORKLOADS[name]) for name in options.workloads},
        "skipped": skipped,
        "runs": runs,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    results.write_json(options.results / "serving.json", result)
    results.write_table(options.results / results.TABLE, runs)
    plot.draw(options.results)
    for key, value in result["ratios"].items():
        say(f"{key}: {value['median']} [{value['min']}, {value['max']}]")
    for what, reason in skipped.items():
        say(f"skipped: {what}: {reason.splitlines()[0]}")
    if any(reason.startswith(FAILED) for reason in skipped.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
