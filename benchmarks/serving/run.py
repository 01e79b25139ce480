"""Serving benchmark: ``make bench-serving``.

    python benchmarks/serving/run.py [--config FILE] [--rounds 3] [--concurrency 1,8,32,64]

Starts bare `vllm serve` and Switchboard with the same engine settings and lets vLLM's own client
(`vllm bench serve`) drive them in turn, A B A B …. Writes ``benchmarks/results/serving.json``
(``ratios`` over the rounds, every single run, environment, commit). The servers stay up together,
so that rounds alternate quickly; an idle engine uses next to no CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import targets
import yaml
from targets import ROOT, Target

sys.path.append(str(Path(__file__).parents[1]))
from environment import commit, environment, now

RESULTS = Path(__file__).parents[1] / "results"
WORKLOADS = {"suggest": (512, 48), "summarize": (1500, 128)}
CLIENT = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""


def drive(target: Target, model: str, workload: str, concurrency: int, seed: int) -> dict[str, Any]:
    """Let vLLM's client drive a server once; returns its figures and the server's overhead."""
    inputs, outputs = WORKLOADS[workload]
    prompts = max(24, 6 * concurrency)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-c", CLIENT, "--backend", "openai-chat"),
            *("--endpoint", "/v1/chat/completions", "--base-url", target.url),
            *("--model", model, "--served-model-name", target.model, "--tokenizer", model),
            *("--dataset-name", "random", "--random-input-len", str(inputs)),
            *("--random-output-len", str(outputs), "--random-prefix-len", "0"),
            *("--ignore-eos", "--num-prompts", str(prompts), "--seed", str(seed)),
            *("--max-concurrency", str(concurrency), "--num-warmups", "4", "--disable-tqdm"),
            *("--percentile-metrics", "ttft,itl,e2el", "--metric-percentiles", "50,95,99"),
            *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
        ]
        before, _ = target.overhead()
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"OPENAI_API_KEY": target.key},
        )
        after, resident = target.overhead()
        file = Path(folder) / "result.json"
        if not file.exists():
            raise RuntimeError(f"{target.name}: the client failed:\n{done.stderr[-3000:]}")
        found = json.loads(file.read_text())
    if found["completed"] != prompts:
        raise RuntimeError(f"{target.name}: {found['completed']} of {prompts} completed")
    return {
        "target": target.name,
        "workload": workload,
        "concurrency": concurrency,
        "requests_per_s": found["request_throughput"],
        "output_tokens_per_s": found["output_throughput"],
        **{f"ttft_ms_p{p}": found[f"p{p}_ttft_ms"] for p in (50, 95, 99)},
        **{f"itl_ms_p{p}": found[f"p{p}_itl_ms"] for p in (50, 95, 99)},
        "cpu_s_per_request_beside_engine": (after - before) / (prompts + 4),
        "rss_mib_beside_engine": resident,
    }


def spread(values: list[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": len(values),
    }


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Each server against bare vLLM, round by round."""
    found: dict[str, dict[str, float | int]] = {}
    ours = sorted({run["target"] for run in runs} - {"vllm"})
    for workload in dict.fromkeys(run["workload"] for run in runs):
        for concurrency in sorted({run["concurrency"] for run in runs}):
            cell = [r for r in runs if (r["workload"], r["concurrency"]) == (workload, concurrency)]
            bare = [run for run in cell if run["target"] == "vllm"]
            for name in ours:
                pairs = list(zip((r for r in cell if r["target"] == name), bare, strict=True))
                tail = "" if workload == "suggest" else f"_{workload}"
                prefix = "" if name == "switchboard" else f"{name}_"
                found[f"{prefix}throughput_vs_vllm_c{concurrency}{tail}"] = spread(
                    [a["requests_per_s"] / b["requests_per_s"] for a, b in pairs]
                )
                found[f"{prefix}ttft_ms_over_vllm_c{concurrency}{tail}"] = spread(
                    [a["ttft_ms_p50"] - b["ttft_ms_p50"] for a, b in pairs]
                )
    return found


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", default="1,8,32,64")
    parser.add_argument("--workloads", default="suggest")
    parser.add_argument("--proxies", default="haproxy", help="haproxy,python")
    options = parser.parse_args()
    from serving import engine, ports, settings

    config = yaml.safe_load(options.config.read_text())
    config["model"] = str((ROOT / config["model"]).absolute())
    config["prompts"] = str(ROOT / config["prompts"])
    config["engine"]["max_model_len"] = 2048
    loaded = settings.Settings.model_validate(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = [targets.vllm(config, engine.flags(loaded), ports.free())]
        servers += [
            targets.switchboard(config, folder / proxy, ports.free(), proxy)
            for proxy in options.proxies.split(",")
        ]
        runs = []
        try:
            for server in servers:
                server.start(folder / f"{server.name}.log")
                print(f"{server.name} answers")
            for number in range(options.rounds):
                for workload in options.workloads.split(","):
                    for concurrency in map(int, options.concurrency.split(",")):
                        for server in servers:
                            run = drive(server, loaded.model, workload, concurrency, number)
                            runs.append({"round": number, **run})
                            print(
                                f"round {number} {workload} c{concurrency} {server.name}: "
                                f"{run['requests_per_s']:.1f} req/s, "
                                f"TTFT p50 {run['ttft_ms_p50']:.1f} ms"
                            )
        finally:
            for server in servers:
                server.stop()
    result = {
        "ratios": ratios(runs),
        "environment": environment(),
        "commit": commit(),
        "time": now(),
        "runs": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(result, indent=1) + "\n")
    for key, value in result["ratios"].items():
        print(f"{key}: {value['median']} [{value['min']}, {value['max']}]")


if __name__ == "__main__":
    main()
