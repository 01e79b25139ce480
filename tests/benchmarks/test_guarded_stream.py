"""The benchmark of guarded streams: its lines, their order, its ratios, its text."""

from collections import Counter

import pytest
import stream

from serving.config.settings import Settings
from serving.guards.claims.check import check
from serving.guards.verdict import GuardContext


def test_the_lines_differ_in_what_follows_only() -> None:
    settings = Settings.model_validate({"model": "m", "lobs": stream.lines()})
    actions = [lob.guards.output.claims.action.value for lob in settings.lobs.values()]
    assert actions == list(stream.ACTIONS)


def test_each_line_has_each_place_equally_often() -> None:
    places = Counter((at, one) for n in range(60) for at, one in enumerate(stream.order(n)))
    assert set(places.values()) == {20}


def test_the_guards_find_nothing_in_the_text_that_is_forced() -> None:
    turns = tuple((one["role"], one["text"]) for one in stream.CONVERSATION)
    assert check(stream.TEXT, GuardContext(conversation=turns)) == []
    assert check(stream.TEXT, GuardContext()) != []


def test_ratios_are_to_the_line_without_guards() -> None:
    times = {"ttft_ms": 10.0, "first_sentence_ms": 20.0, "total_ms": 50.0}
    rounds = [
        {"off": times, "flag": times, "block": times | {"ttft_ms": late}} for late in (10.0, 40.0)
    ]
    found = stream.summary(rounds * 20)
    ratio = found["block"]["ttft_ratio"]
    assert ratio["value"] == pytest.approx(2, abs=0.01)
    assert 1 < ratio["low"] < 2 < ratio["high"] < 4
    assert found["flag"]["total_ratio"]["value"] == 1
    assert found["block"]["ttft_ms"] == 25
