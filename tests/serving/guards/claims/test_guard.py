"""The check of claims as a line configures it."""

import gc
from typing import Any

from serving.config.guards import Claims
from serving.guards.claims import guard
from serving.guards.verdict import GuardContext

TEXT = "It costs $77. Ask for Leonora there. I will refund you in full."
CONTEXT = GuardContext(conversation=(("customer", "I want a refund."),))


def kinds(context: GuardContext = CONTEXT, **of: Any) -> list[str]:
    check = guard.claims(Claims.model_validate(of))
    return [one.kind for one in check(TEXT, context)]


def test_only_kinds_that_are_on_and_scores_that_are_high_enough_are_found() -> None:
    assert kinds(action="block") == ["amount", "name", "promise"]
    assert kinds(action="block", kinds={"name": "off"}) == ["amount", "promise"]
    assert kinds(kinds={"name": "flag"}) == ["name"]
    assert kinds(action="flag", min_score=0.65) == ["amount", "name"]


def test_what_one_context_gives_supports_nothing_in_another() -> None:
    check = guard.claims(Claims.model_validate({"action": "block"}))
    known = GuardContext(knowledge=("Leonora; $77; a refund",))
    assert not check(TEXT, known)
    assert check(TEXT, CONTEXT)
    del known
    gc.collect()
    assert check(TEXT, GuardContext())
    assert not check(TEXT, GuardContext(knowledge=("Leonora; $77; a refund",)))
