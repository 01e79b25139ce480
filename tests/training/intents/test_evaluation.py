"""The classifier is preferred only where it is shown to be right more often."""

import pytest

from tests.training.intents.test_fitting import rows
from training.intents.evaluation import divided, evaluate
from training.intents.fitting import fit
from training.intents.material import Labelled

CLASSIFIER = fit(*rows("late", "refund", None))


def held(
    count: int, intent: str | None, engine: str | None, text: str, *, by_engine: bool = True
) -> list[Labelled]:
    return [
        Labelled(f"{text}{n}", (text,), intent, engine, by_engine=by_engine) for n in range(count)
    ]


def test_a_classifier_that_is_right_more_often_is_preferred() -> None:
    found = evaluate(
        CLASSIFIER,
        held(10, "late", "late", "my parcel is late")
        + held(9, "refund", "late", "refund my money"),
    )
    assert (found.compared, found.confirmed) == (19, 10)
    assert (found.only_classical, found.only_engine) == (9, 0)
    assert found.p == pytest.approx(0.5**9)
    assert found.prefers == "classical"
    assert found.classical is not None
    assert (found.classical.mean, found.classical.low) == (1, pytest.approx(0.8235, abs=1e-4))
    assert found.engine is not None
    assert found.engine.mean == pytest.approx(10 / 19)


def test_one_that_is_not_shown_to_be_better_is_not() -> None:
    same = held(30, "late", "late", "my parcel is late")
    few = held(4, "refund", "late", "refund my money")
    assert evaluate(CLASSIFIER, same + few).prefers == "engine", "p is 1/16"
    worse = held(30, "late", "late", "hello there")
    found = evaluate(CLASSIFIER, worse)
    assert (found.only_engine, found.p, found.prefers) == (30, 1.0, "engine")


def test_corrections_alone_do_not_make_the_engine_wrong() -> None:
    found = evaluate(CLASSIFIER, held(30, "refund", "late", "refund my money"))
    assert (found.only_classical, found.prefers) == (30, "engine")
    assert "nobody confirmed" in found.why


def test_what_the_classifier_said_itself_tells_nothing_of_the_engine() -> None:
    found = evaluate(CLASSIFIER, held(9, "late", "refund", "late parcel again", by_engine=False))
    assert (found.held_out, found.compared, found.engine) == (9, 0, None)
    assert found.prefers == "engine"


def test_nothing_held_out_prefers_the_engine() -> None:
    found = evaluate(CLASSIFIER, [])
    assert (found.classical, found.prefers) == (None, "engine")


def test_who_judges_is_drawn_by_the_conversation_alone() -> None:
    rows_ = held(400, "late", "late", "x")
    learned, judging = divided("care", rows_, 0.25, "salt")
    assert len(learned) + len(judging) == 400
    assert 60 < len(judging) < 140
    changed = [Labelled(one.conversation, ("y",), None, None, by_engine=False) for one in rows_]
    assert [one.conversation for one in divided("care", changed, 0.25, "salt")[1]] == [
        one.conversation for one in judging
    ]
