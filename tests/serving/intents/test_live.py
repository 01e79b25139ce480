"""A replica takes a line's newest classifier, and leaves to the engine what is not for it."""

from pathlib import Path
from typing import Any

import pytest

from serving.config.structured.insights import Insights
from serving.intents import live, published
from serving.intents.live import Classifiers, wanted
from tests.serving.intents.test_classifier import MADE
from tests.waiting import PATIENCE_S

LIST = {"late": "A late parcel", "refund": "Money back"}
TURNS = ["My parcel!"]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_LOOK_S", PATIENCE_S)


def its(model: str = "auto", intents: dict[str, str] | None = LIST) -> Insights:
    return Insights.model_validate({"intents": intents, "intent": {"model": model}})


def publish(root: Path, prefers: Any = "classical") -> published.Published:
    listed = tuple(LIST)
    return published.publish(str(root), "care", MADE, intents=listed, prefers=prefers, report={})


async def test_the_line_s_classifier_says_the_intent(tmp_path: Path) -> None:
    made = publish(tmp_path)
    said = await Classifiers(str(tmp_path)).guess("care", its(), TURNS)
    assert said is not None
    assert (said.intent, said.model) == ("late", made.name)
    assert await Classifiers(str(tmp_path)).guess("sales", its(), TURNS) is None


@pytest.mark.parametrize(
    ("model", "intents", "prefers", "expected"),
    [
        ("auto", LIST, "classical", True),
        ("auto", LIST, "engine", False),
        ("auto", LIST | {"new": "A new one"}, "classical", False),
        ("classical", LIST, "engine", True),
        ("classical", LIST | {"new": "A new one"}, "engine", True),
        ("engine", LIST, "classical", False),
        ("classical", None, "classical", False),
    ],
)
def test_the_configuration_and_the_evaluation_decide(
    tmp_path: Path, model: str, intents: dict[str, str] | None, prefers: str, expected: bool
) -> None:
    assert wanted(its(model, intents), publish(tmp_path, prefers)) is expected


async def test_a_newer_classifier_is_taken_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REFRESH_S", 0.0)
    classifiers = Classifiers(str(tmp_path))
    assert await classifiers.guess("care", its(), TURNS) is None
    publish(tmp_path)

    await classifiers.guess("care", its(), TURNS)
    looking = classifiers._lines["care"].looking
    assert looking is not None
    await looking
    assert await classifiers.guess("care", its(), TURNS) is not None
    (tmp_path / "care" / "intents" / "live.json").write_text("{")
    for _ in range(3):
        assert await classifiers.guess("care", its(), TURNS) is not None, "the old one stays"


async def test_without_a_customer_s_turn_the_engine_is_asked(tmp_path: Path) -> None:
    publish(tmp_path)
    assert await Classifiers(str(tmp_path)).guess("care", its(), []) is None
