"""Whose CPU time a sample is."""

import flames
import pytest

ROOT = flames.ROOT
SITE = "/x/.venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("stack", "whose"),
    [
        ([f"run ({SITE}/ray/serve/replica.py:1)", f"loads ({SITE}/json/__init__.py:3)"], "ray"),
        (
            [f"call ({ROOT}/serving/gateway.py:9)", f"create ({SITE}/vllm/entrypoints/chat.py:2)"],
            "vllm",
        ),
        (
            [f"handle ({SITE}/vllm/entrypoints/x/serving.py:1)", f"write ({ROOT}/serving/j.py:2)"],
            "switchboard",
        ),
        (["run_forever (/usr/lib/python3.11/asyncio/base_events.py:1)"], flames.REST),
        (["<native>"], flames.REST),
    ],
)
def test_a_sample_is_the_innermost_known_package_s(stack: list[str], whose: str) -> None:
    assert flames.owner(stack) == whose


def test_shares_are_of_all_samples() -> None:
    raw = f"a ({SITE}/ray/a.py:1);b ({SITE}/vllm/b.py:2) 3\na ({SITE}/ray/a.py:1) 1\n"
    assert flames.shares(raw) == {"vllm": 0.75, "ray": 0.25}


def test_a_row_that_a_round_lacks_counts_as_nothing_there() -> None:
    assert flames.medians([{"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 5.0}]) == {"a": 3.0, "b": 0.0}
