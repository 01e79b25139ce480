from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.examples import Example, Message, Source
from training.evaluation import judge_agreement
from training.evaluation.judge import Pair
from training.evaluation.verdicts import Verdict, Winner
from training.recipe.recipe import EvaluationConfig
from training.stats.proportions import wilson

RULES = EvaluationConfig(resamples=400)
WINNERS = st.sampled_from(["left", "right", "tie", None])


def example(
    name: str, source: Source, shown: str, target: str, *, prompt: str = "", **fields: Any
) -> Example:
    messages = (Message("user", prompt or name),)
    content = {"conversation_id": f"c-{name}", "task": "summary", **fields}
    return Example(
        interaction_id=name,
        created_at=0.0,
        turn_position=None,
        version=None,
        source=source,
        messages=messages,
        shown=shown,
        target=target,
        **content,
    )


def pairs(count: int, task: str = "summary") -> list[Pair]:
    return [Pair(f"c{n}", task, (), "better", "worse") for n in range(count)]


def compare(*winners: Winner | None) -> judge_agreement.Agreement:
    return judge_agreement.compare(pairs(len(winners)), [Verdict(w) for w in winners], RULES)


def table(*rows: tuple[float, ...]) -> Any:
    return np.array([rows])


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [
        (table((20, 5), (10, 15)), 0.4),  # the usual worked example: 0.7 observed, 0.5 expected
        (table((45, 15), (25, 15)), 0.1304),  # Smeeton's pair with equal agreement
        (table((25, 35), (5, 35)), 0.2593),
        (table((88, 14, 18), (10, 40, 10), (2, 6, 12)), 0.492),  # Cohen 1960, table 1
        (table((10, 0), (0, 10)), 1.0),
        (table((0, 10), (10, 0)), -1.0),
        (table((10, 0), (0, 0)), 0.0),  # chance alone agrees always
        (table((0, 0), (0, 0)), 0.0),
    ],
)
def test_kappa_is_the_textbooks(counts: Any, kappa: float) -> None:
    assert judge_agreement.kappa(counts.astype(float))[0] == pytest.approx(kappa, abs=5e-4)


@given(st.lists(WINNERS, min_size=2, max_size=40))
def test_kappa_of_pairs_has_its_closed_form(winners: list[Winner | None]) -> None:
    """With a the share that agrees and t that is tied: (2a - 1 + t) / (1 + t)."""
    judged = [w for w in winners if w is not None]
    found = compare(*winners).kappa
    if len(judged) < 2:
        assert found is None
        return
    a, t = judged.count("left") / len(judged), judged.count("tie") / len(judged)
    assert found is not None
    assert found.mean == pytest.approx((2 * a - 1 + t) / (1 + t))
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9 or len(judged) < 5


def test_agreement_is_among_decided_conversations() -> None:
    found = compare(*["left"] * 9, "right", "tie", "tie", None)
    assert found.share == wilson(9, 10)
    assert found.tally.malformed == wilson(1, 13)
    assert found.trusted
    assert found.words.startswith("Better than chance: it sides with people in 90% of the 10")


@pytest.mark.parametrize(
    ("winners", "words"),
    [
        (["left"] * 6 + ["right"] * 5, "may be chance"),
        (["left"] * 3, "may be chance"),  # three of three: too few
        (["right"] * 20, "contradicts people"),
        (["tie"] * 20, "decided nothing"),
        ([None] * 20, "decided nothing"),
        ([], "no feedback tells"),
    ],
)
def test_a_judge_that_may_be_guessing_is_called_that(
    winners: list[Winner | None], words: str
) -> None:
    found = compare(*winners)
    assert not found.trusted
    assert found.words.startswith("Do not trust this judge: ")
    assert words in found.words


@given(st.lists(WINNERS, max_size=30), st.integers(1, 20))
def test_more_agreement_never_costs_trust(winners: list[Winner | None], more: int) -> None:
    assert compare(*winners, *["left"] * more).trusted or not compare(*winners).trusted


def test_turns_of_one_conversation_prove_no_more_than_one() -> None:
    same = [Pair("c", "summary", (), "better", "worse")] * 30
    found = judge_agreement.compare(same, [Verdict("left")] * 30, RULES)
    assert found.share == wilson(1, 1)
    assert not found.trusted


def test_agreement_is_told_by_task() -> None:
    asked = [*pairs(4, "summary"), *pairs(2, "suggestion")]
    winners: list[Winner] = ["left", "left", "right", "tie", "tie", "tie"]
    found = judge_agreement.compare(asked, [Verdict(w) for w in winners], RULES)
    assert found.by_task == {"suggestion": None, "summary": wilson(2, 3)}


def test_people_prefer_what_they_wrote_or_rated_highly() -> None:
    examples = [
        example("e", "edit", "It is late.", "It arrives on Friday."),
        example("cosmetic", "edit", "it is late", "It is late."),
        example("good", "rating", "yes", "yes", prompt="same"),
        example("bad", "rejection", "no", "no", prompt="same"),
        example("alone", "rejection", "no", "no"),
        example("used", "used", "fine", "fine", prompt="same"),
    ]
    found = judge_agreement.human_pairs(examples, 9)
    assert {(p.left, p.right) for p in found} == {
        ("It arrives on Friday.", "It is late."),
        ("yes", "no"),
    }
    assert {p.messages for p in found} == {examples[0].messages, examples[2].messages}


def test_few_pairs_cover_many_conversations() -> None:
    examples = [
        example(f"{c}{n}", "edit", f"shown {c}{n}", f"better {c}{n}", conversation_id=c)
        for c in "abc"
        for n in range(3)
    ]
    found = judge_agreement.human_pairs(examples, 4)
    assert sorted(p.conversation_id for p in found[:3]) == ["a", "b", "c"]
    assert found == judge_agreement.human_pairs(examples[::-1], 4)


def test_figures_are_json() -> None:
    content = compare("left", "right", "left").as_json()
    assert content["trusted"] is False
    assert content["share"]["count"] == 3
