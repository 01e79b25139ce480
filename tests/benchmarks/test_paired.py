"""The paired serving benchmark's arithmetic."""

import random

import pytest
from paired import Times, difference, summary


def test_a_difference_is_of_pairs_not_of_medians() -> None:
    below = [float(n) for n in range(100)]
    drift = [n + 2.0 for n in below]
    assert difference(drift, below) == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_the_interval_holds_zero_where_only_noise_differs() -> None:
    chance = random.Random(0)
    below = [chance.gauss(50, 5) for _ in range(200)]
    above = [value + chance.gauss(0, 5) for value in below]
    found = difference(above, below)
    assert found["low"] <= 0 <= found["high"]
    assert found["low"] <= found["median"] <= found["high"]


def test_values_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        difference([1.0], [1.0, 2.0])


def test_a_summary_compares_each_server_with_bare_vllm() -> None:
    bare = [Times(10.0 + n % 7, 100.0 + n % 7) for n in range(100)]
    ours = [Times(one.ttft_ms + 3, one.e2el_ms + 4) for one in bare]
    found = summary({"vllm": bare, "switchboard": ours})
    assert "over_vllm" not in found["vllm"]["ttft_ms"]
    assert found["switchboard"]["ttft_ms"]["over_vllm"]["median"] == 3.0
    assert found["switchboard"]["e2el_ms"]["over_vllm"]["high"] == 4.0
    assert found["switchboard"]["ttft_ms"]["p50"] == found["vllm"]["ttft_ms"]["p50"] + 3
