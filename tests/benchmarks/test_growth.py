import growth


def run(number: int, registered: int, active: int, per_s: float) -> dict[str, float]:
    return {
        "round": number,
        "registered": registered,
        "active": active,
        "requests_per_s": per_s,
        "ttft_ms_p50": 100 / per_s,
    }


def test_no_more_adapters_are_active_than_registered():
    assert growth.cells([1, 10, 100, 1000], [8, 64]) == [
        (1, 1),
        (10, 8),
        (100, 8),
        (100, 64),
        (1000, 8),
        (1000, 64),
    ]


def test_growth_is_told_apart_from_activity():
    runs = [run(0, 1, 1, 20), run(0, 10, 8, 10), run(0, 1000, 8, 5), run(0, 1000, 64, 4)]
    found = {name: ratio["median"] for name, ratio in growth.growth_ratios(runs).items()}
    assert found["throughput_vs_1_registered_r1000_a8"] == 0.25
    assert found["throughput_vs_fewest_registered_r1000_a8"] == 0.5
    assert found["ttft_ms_over_1_registered_r1000_a8"] == 15
    assert found["throughput_vs_1_registered_r1000_a64"] == 0.2
    assert "throughput_vs_fewest_registered_r1000_a64" not in found, "it is the fewest itself"


def test_percentiles_are_interpolated():
    assert growth.percentiles([1.0, 2.0, 3.0, 4.0, 5.0]) == {
        "count": 5,
        "ms_p50": 3.0,
        "ms_p95": 4.8,
    }
