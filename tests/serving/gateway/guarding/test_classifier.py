"""What a guard model's answer says."""

import math
from typing import Any

import pytest

from serving.gateway.guarding.classifier import probability


def answer(content: Any, tops: list[tuple[str, float]] | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"message": {"content": content}}
    if tops is not None:
        alternatives = [{"token": t, "logprob": math.log(p)} for t, p in tops]
        blank = {"token": "\n\n", "logprob": 0.0, "top_logprobs": []}
        first = {"token": tops[0][0], "logprob": 0.0, "top_logprobs": alternatives}
        choice["logprobs"] = {"content": [blank, first]}
    return {"choices": [choice]}


@pytest.mark.parametrize(
    ("content", "tops", "expected"),
    [
        ("safe", None, 0.0),
        ("\n\nunsafe\nS2", None, 1.0),
        ("Yes", None, 1.0),
        ("No.", None, 0.0),
        ("unsafe", [("unsafe", 0.6), ("safe", 0.2), ("x", 0.2)], 0.75),
        ("safe", [("safe", 0.9), ("unsafe", 0.1)], 0.1),
        ("safe", [("hm", 0.9)], 0.0),
    ],
)
def test_the_first_word_s_probability_is_the_answer_s(
    content: str, tops: list[tuple[str, float]] | None, expected: float
) -> None:
    assert probability(answer(content, tops)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "said", [{}, {"choices": []}, answer(None), answer(""), answer("perhaps"), {"choices": [3]}]
)
def test_an_answer_that_says_neither_is_none(said: dict[str, Any]) -> None:
    assert probability(said) is None
