"""Which guards a line's configuration turns on, and what follows from each finding."""

from typing import Any

from serving.config.guards import Action, OutputGuards
from serving.gateway.guarding.configured import Check, for_customers, of_answers


def answers(**claims: Any) -> list[Check]:
    return of_answers(OutputGuards.model_validate({"claims": claims}))


def test_guards_that_are_off_are_not_asked() -> None:
    assert of_answers(OutputGuards()) == []
    assert answers(kinds={"date": "off"}) == []


def test_a_kind_alone_turns_the_guard_on_with_the_gravest_action_of_all() -> None:
    (check,) = answers(action="flag", kinds={"amount": "block", "name": "off"})
    assert check.action is Action.BLOCK
    assert (check.action_of("amount"), check.action_of("date")) == (Action.BLOCK, Action.FLAG)
    (check,) = answers(kinds={"date": "flag"})
    assert check.action is Action.FLAG


def test_for_customers_what_is_flagged_is_reviewed_and_what_is_off_stays_off() -> None:
    (check,) = answers(action="flag", kinds={"amount": "block", "name": "off"})
    stricter = for_customers(check)
    actions = [stricter.action_of(kind) for kind in ("date", "amount", "name")]
    assert actions == [Action.REVIEW, Action.BLOCK, Action.OFF]
    (flagging,) = answers(action="flag")
    assert for_customers(flagging).action is Action.REVIEW
