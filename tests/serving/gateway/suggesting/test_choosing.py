"""Candidates in the order of their confidence, each once, or silence with its reason."""

from collections.abc import Sequence
from typing import Any

import pytest

from serving.gateway.suggesting.choosing import chosen
from serving.gateway.suggesting.distinct import by_words
from serving.gateway.suggesting.plan import Plan

ALIKE = by_words(0.8)


def answer(*texts: str) -> dict[str, Any]:
    each = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    return {"id": "x", "choices": each, "usage": {"completion_tokens": 9}}


def told(sure: Sequence[float | None], made: dict[str, Any], **plan: Any) -> dict[str, Any]:
    known = {i: one for i, one in enumerate(sure) if one is not None}
    return chosen(made, known, Plan(**plan), ALIKE)


def test_the_surest_comes_first_and_its_twin_goes() -> None:
    made = answer("Which order?", "I am sorry.", "I'm sorry!", "How can I help?")
    found = told([0.3, 0.5, 0.9, 0.4], made, wanted=2, sampled=4)
    assert [one["message"]["content"] for one in found["choices"]] == [
        "I'm sorry!",
        "How can I help?",
    ]
    assert [(c["index"], c["rank"], c["confidence"]) for c in found["choices"]] == [
        (0, 0, 0.9),
        (1, 1, 0.4),
    ]
    assert (found["abstained"], found["id"], found["usage"]) == (False, "x", made["usage"])


def test_what_is_equally_sure_stays_in_its_order_and_what_is_not_known_comes_last() -> None:
    made = answer("one fish", "two birds", "three cats", "four dogs")
    found = told([None, 0.5, 0.5, None], made, wanted=4, sampled=4)
    texts = [one["message"]["content"] for one in found["choices"]]
    assert texts == ["two birds", "three cats", "one fish", "four dogs"]
    assert found["choices"][-1]["confidence"] is None


def test_below_the_bound_there_is_silence_that_says_why() -> None:
    found = told([0.2, 0.4], answer("one", "two"), wanted=2, sampled=2, abstain_below=0.5)
    assert found["choices"] == []
    assert found["abstained"] is True
    assert found["abstention"] == {"reason": "low_confidence", "confidence": 0.4, "below": 0.5}
    assert list(found).index("abstained") < list(found).index("choices")


def test_the_bound_holds_for_each_candidate_and_itself_is_enough() -> None:
    found = told([0.2, 0.5], answer("one", "two"), wanted=2, sampled=2, abstain_below=0.5)
    assert [one["message"]["content"] for one in found["choices"]] == ["two"]


def test_what_nobody_measured_is_not_withheld() -> None:
    found = told([None], answer("one"), abstain_below=0.5)
    assert [one["confidence"] for one in found["choices"]] == [None]


@pytest.mark.parametrize(
    ("draft", "gap", "text", "completion", "whole"),
    [
        ("I am so", "", "rry. ", "rry.", "I am sorry."),
        ("I am", " ", " sorry", "sorry", "I am sorry"),
        ("I am", "", " sorry", " sorry", "I am sorry"),
    ],
)
def test_a_draft_is_completed(draft: str, gap: str, text: str, completion: str, whole: str) -> None:
    (one,) = told([0.5], answer(text), draft=draft, gap=gap)["choices"]
    assert one["completion"] == completion
    assert one["message"] == {"role": "assistant", "content": whole}
    assert f"{draft}{gap}{completion}" == whole


@pytest.mark.parametrize("text", ["", "  ", "ber"])
def test_where_nothing_fits_the_draft_there_is_silence(text: str) -> None:
    found = told([0.9], answer(text), draft="I am", gap=" ")
    assert (found["abstained"], found["choices"]) == (True, [])
    assert found["abstention"] == {"reason": "nothing_to_add"}


def test_completions_are_told_apart_by_what_they_add() -> None:
    made = answer(" now", " tomorrow")
    draft = "We will gladly send you a new kettle in the same colour"
    found = told([0.5, 0.4], made, draft=draft, wanted=2, sampled=2)
    assert [one["completion"] for one in found["choices"]] == [" now", " tomorrow"]
