"""What follows from verdicts."""

import pytest

from serving.guards.decision import Decision, decide, holds
from serving.guards.verdict import Action, Finding, Verdict


def verdict(action: Action) -> Verdict:
    return Verdict("input.injection", action, Finding("injection", 1.0, (0, 1), "It is one."))


@pytest.mark.parametrize(
    ("actions", "decision"),
    [
        ([], Decision.PASS),
        ([Action.FLAG], Decision.PASS),
        ([Action.FLAG, Action.REVIEW], Decision.HOLD),
        ([Action.BLOCK, Action.REVIEW, Action.FLAG], Decision.REFUSE),
    ],
)
def test_the_gravest_verdict_decides(actions: list[Action], decision: Decision) -> None:
    assert decide(map(verdict, actions)) is decision


def test_only_what_may_refuse_holds_a_text() -> None:
    assert [action for action in Action if holds(action)] == [Action.REVIEW, Action.BLOCK]
