"""Where the CPU time beside the engine goes: flame graphs, and a table of who uses it.

    python benchmarks/serving/flames.py [--targets vllm,switchboard] [--workload suggest]
                                        [--concurrency 32] [--seconds 20] [--rounds 3]

Drives each server in turn with vLLM's own client and samples the process that handles requests
(vLLM's API server; Switchboard's replica) with py-spy, which comes with Ray. A sample belongs to
the innermost of the packages in `OWNERS` on its stack: the JSON that vLLM parses is vLLM's, the
JSON that we parse is ours. Only the thread that holds Python's lock is sampled: the others may be
waiting, which a profiler cannot tell everywhere. Shares of samples are turned into milliseconds by
the CPU time that the process used, as the kernel counts it, so what runs without the lock (system
calls, tokenizers) is spread over all; other processes (HAProxy, Ray's controller, …) are counted
whole. Sampling slows the process it stops, so throughput is not measured here.

Writes ``flames.json`` and ``flames-TARGET.svg``.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import targets
from client import Client
from drive import drive, exit_on_sigterm, prepare, say
from target import ENGINE, ROOT, Target
from workloads import WARM_ROUND, WARMUPS, WORKLOADS, requests, seed

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

RESULTS = ROOT / "benchmarks" / "results"
PY_SPY = Path(sys.executable).parent / "py-spy"
HANDLERS = ("vllm.entrypoints.openai.api_server", "ray::ServeReplica")
OWNERS = {  # the path of a frame's file to who pays for it; the first match counts
    "switchboard": re.compile(rf"^{re.escape(str(ROOT))}/(serving|kernels)/"),
    "vllm": re.compile(r"/site-packages/vllm/"),
    "ray": re.compile(r"/site-packages/ray/"),
    "uvicorn, starlette, fastapi": re.compile(r"/site-packages/(uvicorn|starlette|fastapi)/"),
}
SPY = ("--gil", "--rate", "97", "--duration", "600", "--full-filenames")
REST = "event loop and other Python"
FRAME = re.compile(r"\((?P<file>[^()]*?)(:\d+)?\)$")


def owner(stack: list[str]) -> str:
    """Who pays for a sample.

    Args:
        stack: Frames as py-spy writes them, ``function (file:line)``, outermost first.

    Returns:
        The innermost frame's owner among `OWNERS`, or `REST`.
    """
    for frame in reversed(stack):
        found = FRAME.search(frame)
        for name, pattern in OWNERS.items():
            if found and pattern.search(found["file"]):
                return name
    return REST


def shares(raw: str) -> dict[str, float]:
    """Share of the samples by owner, of py-spy's ``raw`` output: ``frame;frame;… count`` lines."""
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        counts[owner(stack.split(";"))] += int(count)
    return {name: count / counts.total() for name, count in counts.items()}


def kind(process: psutil.Process) -> str | None:
    """What a process is to the table; None for the engine's own and for ended ones."""
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    line = " ".join(words)
    if not words or line.startswith(ENGINE):
        return None
    if any(name in line for name in HANDLERS):
        return "handler"
    if Path(words[0]).name == "haproxy":
        return "haproxy"
    return "other processes"


def used(target: Target) -> Counter[str]:
    """CPU seconds so far by kind of process."""
    seconds: Counter[str] = Counter()
    for process in target.tree():
        name = kind(process)
        if name is None:
            continue
        try:
            times = process.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        seconds[name] += times.user + times.system
    return seconds


def sample(
    client: Client, target: Target, options: argparse.Namespace, count: int, number: int
) -> dict[str, float]:
    """Drive a server once under py-spy.

    Returns:
        CPU milliseconds a request by owner and kind of process.
    """
    handler = next(p for p in target.tree() if kind(p) == "handler")
    with tempfile.TemporaryDirectory() as folder:
        files = {"raw": Path(folder) / "raw", "flamegraph": RESULTS / f"flames-{target.name}.svg"}
        before = used(target)
        spies = [
            subprocess.Popen(
                [PY_SPY, "record", *SPY, "--pid", str(handler.pid), "--format", form, "-o", file],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for form, file in files.items()
            if form == "raw" or number == 0
        ]
        where = options.workload, options.concurrency
        drive(client, target, *where, count, seed(number, *where))
        after = used(target)
        for spy in spies:
            spy.send_signal(signal.SIGINT)  # as Ctrl-C: py-spy writes what it has
            spy.wait(60)
        found = shares(files["raw"].read_text())
    per = 1000 / (count + WARMUPS)
    spent = {name: (after[name] - before[name]) * per for name in after}
    of_handler = spent.pop("handler")
    return {name: share * of_handler for name, share in found.items()} | spent


def main() -> None:
    """Sample the servers in turn, write, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--targets", default="vllm,switchboard")
    parser.add_argument("--workload", choices=list(WORKLOADS), default="suggest")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a run, about")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    exit_on_sigterm()
    from serving import ports

    made_by = commit()  # before the flame graphs are written, which are kept in it
    names = options.targets.split(",")
    servers: list[Target] = []
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        setting = prepare(options.config, Path(name))
        where = options.workload, options.concurrency
        try:
            with Client(Path(name) / "client.log") as client:
                for made in names:
                    target = targets.MAKERS[made](setting, ports.free(), made)
                    servers.append(target)
                    target.start(Path(name) / f"{made}.log")
                    warm = requests(0, 0, options.concurrency)
                    row = drive(client, target, *where, warm, seed(WARM_ROUND, *where))
                    target.pause()
                    say(f"{made} answers")
                count = requests(row["requests_per_s"], options.seconds, options.concurrency)
                for number in range(options.rounds):
                    for target in servers if number % 2 == 0 else reversed(servers):
                        target.resume()
                        spent = sample(client, target, options, count, number)
                        target.pause()
                        runs.append({"round": number, "target": target.name, "ms": spent})
                        say(f"round {number} {target.name}: {sum(spent.values()):.2f} ms a request")
        finally:
            for target in servers:
                target.stop()
    table = {made: medians([r["ms"] for r in runs if r["target"] == made]) for made in names}
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"cpu_ms_per_request": table, "workload": options.workload}
    content |= {"concurrency": options.concurrency, "requests": count, "runs": runs}
    content |= {"environment": environment(), "commit": made_by, "time": now()}
    (RESULTS / "flames.json").write_text(json.dumps(content, indent=1) + "\n")
    for row_name in sorted({name for spent in table.values() for name in spent}):
        cells = "".join(f"{table[made].get(row_name, 0.0):>14.3f}" for made in names)
        say(f"{row_name:<30}{cells}")


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Median over the rounds of each row; a row that a round lacks counts as 0 there."""
    rows = {name for spent in found for name in spent}
    return {
        name: round(statistics.median(spent.get(name, 0.0) for spent in found), 3)
        for name in sorted(rows)
    }


if __name__ == "__main__":
    main()
