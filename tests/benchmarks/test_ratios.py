import pytest
import ratios


def run(target: str, number: int, per_s: float, **changes: object) -> dict[str, object]:
    return {
        "round": number,
        "target": target,
        "workload": "suggest",
        "concurrency": 32,
        "requests_per_s": per_s,
        "ttft_ms_p50": 1000 / per_s,
    } | changes


def test_a_ratio_is_taken_within_a_round_and_its_median_over_the_rounds():
    runs = [run("vllm", n, per_s) for n, per_s in enumerate([10, 20, 40])]
    runs += [run("switchboard", n, per_s) for n, per_s in enumerate([9, 22, 20])]
    found = ratios.ratios(runs)
    assert found["throughput_vs_vllm_c32"] == {"median": 0.9, "min": 0.5, "max": 1.1, "rounds": 3}
    assert found["ttft_ms_over_vllm_c32"]["median"] == pytest.approx(1000 / 9 - 100, abs=1e-3)


def test_rounds_are_matched_by_number_when_a_run_is_missing():
    runs = [run("vllm", 0, 10), run("vllm", 1, 20), run("vllm", 2, 40), run("switchboard", 2, 20)]
    assert ratios.ratios(runs)["throughput_vs_vllm_c32"] == {
        "median": 0.5,
        "min": 0.5,
        "max": 0.5,
        "rounds": 1,
    }


def test_cells_are_never_mixed():
    runs = [run("vllm", 0, 10), run("switchboard", 0, 5, concurrency=8)]
    runs += [run("switchboard", 0, 5, workload="summaries")]
    assert ratios.ratios(runs) == {}


def test_only_short_replies_have_names_without_a_suffix():
    runs = [
        run(target, 0, 10, workload=workload)
        for target in ("vllm", "switchboard")
        for workload in ("suggest", "summaries", "adapters")
    ]
    assert set(ratios.ratios(runs)) == {
        "throughput_vs_vllm_c32",
        "ttft_ms_over_vllm_c32",
        "throughput_vs_vllm_c32_summaries",
        "ttft_ms_over_vllm_c32_summaries",
        "throughput_vs_vllm_c32_adapters",
        "ttft_ms_over_vllm_c32_adapters",
    }


def test_others_are_compared_with_vllm_and_switchboard_with_all():
    names = ["vllm", "switchboard", "ray_llm_haproxy", "ray_llm", "litellm"]
    found = {name for name in ratios.ratios([run(n, 0, 10) for n in names]) if "throughput" in name}
    assert found == {
        "throughput_vs_vllm_c32",
        "throughput_vs_ray_llm_haproxy_c32",
        "throughput_vs_ray_llm_c32",
        "throughput_vs_litellm_c32",
        "ray_llm_haproxy_throughput_vs_vllm_c32",
        "ray_llm_throughput_vs_vllm_c32",
        "litellm_throughput_vs_vllm_c32",
    }


def test_the_plugin_is_judged_by_the_same_server_without_it():
    speeds = {"vllm": 20, "vllm_kernels_off": 10, "switchboard": 18, "switchboard_kernels_off": 6}
    runs = [run(name, 0, per_s, workload="adapters") for name, per_s in speeds.items()]
    found = {n: r["median"] for n, r in ratios.ratios(runs).items() if "throughput" in n}
    assert found == {
        "throughput_vs_vllm_c32_adapters": 0.9,
        "throughput_vs_kernels_off_c32_adapters": 3,
        "vllm_throughput_vs_kernels_off_c32_adapters": 2,
    }


def test_every_server_goes_first_once_in_as_many_turns_and_then_the_order_turns_round():
    names = ["a", "b", "c"]
    orders = [ratios.rotated(names, turn) for turn in range(6)]
    assert [order[0] for order in orders[:3]] == names
    assert orders[3:] == [order[::-1] for order in orders[:3]]
    assert all(sorted(order) == names for order in orders)
