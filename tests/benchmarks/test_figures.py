"""What the READMEs quote is what the result files hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
NAMES = sorted(str(file.relative_to(RESULTS)) for file in RESULTS.rglob("*.json"))


def result(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return content


def spread(found: dict[str, float], digits: int, middle: str = "median", unit: str = "") -> str:
    """A figure with its extremes or its interval, as the tables write it."""
    low, high = ("min", "max") if "min" in found else ("low", "high")
    value, least, most = (f"{found[name]:.{digits}f}" for name in (middle, low, high))
    return f"{value}{unit} [{least}, {most}]"


def percent(found: dict[str, float], name: str = "rate") -> str:
    value, low, high = (f"{100 * found[one]:.1f}" for one in (name, "low", "high"))
    return f"{value} % [{low}, {high}]"


def quoted() -> Iterator[str]:
    """Yield what README.md's table must say."""
    serving = result("serving.json")["ratios"]
    paired = result("paired.json")
    for server in ("switchboard", "vllm_again"):
        over = paired["one_at_a_time"][server]["ttft_ms"]["over_vllm"]
        yield spread(over, 1).replace(" [", " ms [")
    for concurrency in (8, 32, 64):
        name = f"throughput_vs_vllm_c{concurrency}"
        yield f"{spread(paired['ratios'][name], 2)} at {concurrency}"
        yield spread(paired["ratios"][f"vllm_again_{name}"], 2)
    for other in ("ray_llm_haproxy", "ray_llm", "litellm"):
        yield spread(serving[f"throughput_vs_{other}_c32"], 2)
    yield f"Switchboard {spread(serving['throughput_vs_kernels_off_c32_adapters'], 1)}"
    yield f"the plug-in {spread(serving['vllm_throughput_vs_kernels_off_c32_adapters'], 1)}"
    flames = result("flames.json")["cpu_ms_per_request"]
    ours, bare = (sum(flames[name].values()) for name in ("switchboard", "vllm"))
    yield f"{ours:.1f} and {bare:.1f}"
    alarms = result("canary.json")["false_alarms"]
    peeked = f"{100 * alarms['peeked_t_test']['rate']:.1f} %"
    yield f"{percent(alarms['this_test'])} of 10,000 simulated; {peeked}"
    flywheel = result("flywheel.json")["ratios"]
    yield f"{spread(flywheel['quality_over_none'], 2)} by day"
    yield spread(flywheel["quality_over_nogate"], 2)
    stream = result("guarded-stream.json")
    yield spread(stream["flag"]["ttft_ratio"], 2, "value")
    yield spread(stream["block"]["ttft_ratio"], 1, "value")
    yield spread(stream["block"]["total_ratio"], 2, "value")
    claims = result("claims.json")
    yield percent(claims["star"]["false_flags_a_reply"])
    guards = result("guards.json")["bastioncorpus"]
    tuned, unseen = (guards[half]["attacks"]["all"] for half in ("tuned", "unseen"))
    yield f"{tuned['found']} of {tuned['texts']}, {unseen['found']} of {unseen['texts']}"
    training = result("training.json")["ratios"]
    yield spread(training["tokens_per_s_vs_trl"], 1)
    yield spread(training["tokens_per_s_vs_trl_lean"], 1)
    kernels = result("kernels.json")["ratios"]
    yield spread(kernels["lora_over_base_throughput_c32"], 2)
    curation = result("curation.json")
    minutes, gib = curation["seconds"] / 60, curation["peak_rss_mib"] / 1024
    yield f"{minutes:.1f} minutes, {gib:.2f} GiB"
    batch = result("batch.json")
    rounds = batch["batch_to_live_throughput_rounds"]
    yield f"{batch['batch_to_live_throughput']:.2f} [{min(rounds):.2f}, {max(rounds):.2f}]"
    yield f"{batch['p50_ratio']:.2f} and {batch['p99_ratio']:.2f}"
    nodes = result("chaos/two-nodes.json")["runs"][-1]
    old = nodes["stale_after_promotion_returned"] + nodes["old_after_new"]
    lost, kept = nodes["interactions_lost"], nodes["interactions_acknowledged"]
    yield f"{old} of {nodes['answers_compared']:,} compared; {lost} of {kept:,}"
    added = result("gateway.json")["added"]["stream: 50 /s"]["gateway"]["first_ms"]
    yield f"{added['p50']:.1f} and {added['p99']:.1f} ms; our goal, 2 ms at p99"
    flooded = result("chaos/overload.json")
    refused = flooded["strict"]["all_rounds"]["care_flood"]
    p50, p99 = (f"{refused[f'time_to_429_ms_p{p}']:.0f} ms" for p in (50, 99))
    yield f"p50 {p50}; p99 {p99}, our goal 50"
    for over in ("sales_latency_ms_p99_flood_over_quiet", "sales_latency_ms_p99_flood_over_busy"):
        yield spread(flooded["strict"]["ratios"][over], 2)
    yield spread(flooded["strict"]["ratios"]["care_latency_ms_p99_flood_over_busy"], 2)
    yield spread(flooded["shipped"]["ratios"]["sales_latency_ms_p99_flood_over_quiet"], 2)
    soak = result("chaos/soak.json")
    yield f"{soak['failed_total']} of {soak['requests']:,}, {soak['swaps']} swaps"
    killed = result("chaos/kill.json")["summary"].values()
    lost, kept = (sum(one[name] for one in killed) for name in ("lost", "acknowledged"))
    yield f"{lost} of {kept:,}; 0.8 s but for HAProxy"
    worst = max(result("judge.json")["nothing_may_be_promoted"], key=lambda case: case["rate"])
    yield percent(worst)
    hotel = result("real.json")["lines"]["hotel"]["arms"]
    for arm in ("base", "sft", "minilm"):
        yield spread(hotel[arm]["means"]["edit_similarity"], 2, "mean")


@pytest.mark.parametrize("text", list(quoted()))
def test_the_readme_quotes_the_result_files(text: str) -> None:
    assert text in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_result_says_which_commit_and_machine_made_it(name: str) -> None:
    content = result(name)
    for found in content["runs"] if list(content) == ["runs"] else [content]:
        assert found["environment"]
        assert "dirty" not in found["commit"]
