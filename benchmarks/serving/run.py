"""Serving benchmark: ``make bench-serving``.

    python benchmarks/serving/run.py [--targets a,b] [--workloads a,b] [--concurrency 1,8,32,64]
                                     [--rounds 3] [--seconds 5 | --requests N] [--results DIR]

Drives bare `vllm serve`, ray.serve.llm (HAProxy on and off), Switchboard with everything on and
LiteLLM's proxy, all with the same engine settings and environment, with vLLM's own client. In each
cell (workload, concurrency) of each round the servers take turns, in an order that rotates. All are
started once and stay up; but only the one being measured runs, the others are stopped with SIGSTOP,
so that an idle one costs nothing. (Restarting seven servers for each round would take 20 minutes,
and three idle Ray clusters use CPU all the time.)

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
import yaml
from client import Client
from target import ROOT, Target
from workloads import ADAPTERS, WARMUPS, WORKLOADS, arguments, requests, seed

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

MODEL = ROOT / ".cache" / "switchboard" / "demo-base"
FAILED = "failed: "
NEEDED_MIB = 3000  # a server takes less; one that finds no memory would disturb all others
WARM_ROUND, CALIBRATION_ROUND = 98, 99  # their prompts are no measured round's


def drive(
    client: Client, target: Target, workload: str, concurrency: int, count: int, seed_: int
) -> dict[str, Any]:
    """Let the client drive a server through one cell.

    Args:
        client: vLLM's.
        target: A server that answers.
        workload: A name in `WORKLOADS`.
        concurrency: Requests in flight.
        count: Requests in all.
        seed_: Of the prompts.

    Returns:
        The client's figures and what the server cost beside its engine: a row of the table.

    Raises:
        RuntimeError: A request failed.
    """
    line = arguments(
        WORKLOADS[workload],
        url=target.url,
        tokenizer=str(MODEL),
        model=target.model,
        adapters=target.adapters,
        concurrency=concurrency,
        count=count,
        seed=seed_,
    )
    before, _ = target.overhead()
    found, client_s = client.run(line, target.key)
    after, resident = target.overhead()
    if found["completed"] != count:
        errors = sorted({error[:300] for error in found.get("errors", []) if error})
        raise RuntimeError(f"{found['completed']} of {count} completed; {errors[:1]}")
    return {
        "target": target.name,
        "workload": workload,
        "concurrency": concurrency,
        "requests": count,
        "seconds": round(found["duration"], 3),
        "requests_per_s": round(found["request_throughput"], 4),
        "output_tokens_per_s": round(found["output_throughput"], 2),
        "goodput_per_s": round(found["request_goodput"], 4),
        **{
            f"{time_}_ms_p{p}": round(found[f"p{p}_{time_}_ms"], 3)
            for time_ in ("ttft", "itl", "e2el")
            for p in (50, 95, 99)
        },
        "cpu_s_per_request_beside_engine": round((after - before) / (count + WARMUPS), 5),
        "rss_mib_beside_engine": round(resident, 1),
        "client_cpu_s_per_request": round(client_s / count, 5),
    }


def prepare(config: Path, folder: Path, count: int = ADAPTERS) -> targets.Setting:
    """Make what all servers share: the model if it is missing, adapters, configuration, flags."""
    from serving import engine, settings
    from switchboard_kernels.tiny_checkpoint import make_adapter

    if not (MODEL / "config.json").exists():
        from training.demo_model import make_base_model

        make_base_model(MODEL)
    adapters = {f"line{number}": folder / f"adapter{number}" for number in range(count)}
    for number, path in enumerate(adapters.values()):
        make_adapter(path, MODEL, rank=8, seed=number)
    content = targets.with_adapters(yaml.safe_load(config.read_text()), MODEL, list(adapters))
    flags = engine.flags(settings.Settings.model_validate(content))
    return targets.Setting(content, flags, adapters, folder)


def start(
    setting: targets.Setting,
    names: list[str],
    client: Client,
    top: int,
    servers: list[Target],
    skipped: dict[str, str],
) -> None:
    """Start, warm and pause the servers, one after the other.

    Args:
        setting: What they share.
        names: Which.
        client: To warm them with.
        top: The highest concurrency that will be measured.
        servers: Gets each that is started.
        skipped: Gets the reason for each that is not started.
    """
    from serving import ports

    for name in names:
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
        servers.append(target)
        taken = available - (psutil.virtual_memory().available >> 20)
        say(f"{name} answers after {time.monotonic() - begun:.0f} s and takes {taken} MiB")


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
    client: Client, servers: list[Target], options: argparse.Namespace, skipped: dict[str, str]
) -> list[dict[str, Any]]:
    """All rounds; a cell that fails is left out of the results, and named in `skipped`."""
    sizes = counts(client, servers[0], options)
    cells = [
        (number, workload, concurrency)
        for number in range(options.rounds)
        for workload in options.workloads
        for concurrency in options.concurrency
    ]
    plan = {cell: [s for s in servers if serves(s, cell[1], skipped)] for cell in cells}
    total, done, begun = sum(map(len, plan.values())), 0, time.monotonic()
    version, runs = commit(), []
    for turn, cell in enumerate(cells):
        number, workload, concurrency = cell
        by_name = {server.name: server for server in plan[cell]}
        for name in ratios.rotated(list(by_name), turn):
            server = by_name[name]
            where = f"round {number} {workload} c{concurrency} {name}"
            try:
                server.resume()
                row = drive(client, server, workload, concurrency, sizes[cell[1:]], seed(*cell))
                runs.append(
                    {"round": number, "turn": turn, **row, "commit": version, "time": now()}
                )
                note = f"{row['requests_per_s']:.1f} req/s, TTFT p50 {row['ttft_ms_p50']:.0f} ms"
            except RuntimeError as exc:
                skipped[where] = note = f"{FAILED}{exc}"
            server.pause()
            done += 1
            left = (time.monotonic() - begun) / done * (total - done)
            say(f"{done}/{total} {where}: {note}; {left / 60:.0f} min left")
    return runs


def serves(server: Target, workload: str, skipped: dict[str, str]) -> bool:
    """Whether a server takes part in a workload."""
    if not WORKLOADS[workload].adapters:
        return not server.name.endswith(ratios.OFF)  # without adapters the plug-in does nothing
    if not server.adapters:
        skipped[f"{server.name} {workload}"] = server.no_adapters
    return bool(server.adapters)


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


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
    parser.add_argument("--seconds", type=float, default=5.0, help="of a cell, at bare vLLM's pace")
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
    skipped: dict[str, str] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        setting = prepare(options.config, folder)
        servers: list[Target] = []
        try:
            with Client(folder / "client.log") as client:
                top = max(options.concurrency)
                start(setting, options.targets, client, top, servers, skipped)
                if "vllm" in skipped:
                    raise SystemExit("nothing can be compared without bare vLLM")
                runs = measure(client, servers, options, skipped)
        finally:
            with ThreadPoolExecutor(max(1, len(servers))) as pool:
                list(pool.map(Target.stop, servers))
    result = {
        "ratios": ratios.ratios(runs),
        "environment": environment(),
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
