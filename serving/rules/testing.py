"""The tests that stand beside rules, run against all rules of their line."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.config.rules import Rule, RuleTest
from serving.rules import matching


@dataclass(frozen=True, slots=True)
class TestResult:
    """How one test ended; `fault` is None where it passed."""

    __test__ = False  # it is none of pytest's

    rule: str
    says: str
    fault: str | None


def run(rules: Sequence[Rule]) -> list[TestResult]:
    """Run the tests of a line's rules, in order."""
    return [
        TestResult(rule.artifact, test.says, _fault(rules, rule, test))
        for rule in rules
        for test in rule.tests
    ]


def _fault(rules: Sequence[Rule], rule: Rule, test: RuleTest) -> str | None:
    faults = [_fault_in(rules, rule, test, task) for task in rule.tasks]
    return next((fault for fault in faults if fault is not None), None)


def _fault_in(rules: Sequence[Rule], rule: Rule, test: RuleTest, task: str) -> str | None:
    try:
        match = matching.first(rules, task, test.says)
    except TimeoutError:
        return "a pattern took too long"
    met = match.rule.name if match else None
    if not test.matches:
        return f"{rule.name} matched" if met == rule.name else None
    if match is None or met != rule.name:
        return f"{met or 'no rule'} matched"
    if rule.answer is None:
        return None
    said = matching.fill(rule.answer, {**match.slots, **test.slots})
    if said is None:
        return "a slot of the answer was not filled"
    if test.answer is not None and said != test.answer:
        return f"it answered {said!r}"
    return None
