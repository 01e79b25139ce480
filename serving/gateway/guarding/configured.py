"""The guards that a line's configuration asks for, each with what follows from what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from serving.config.guards import InputGuards, OutputGuards
from serving.config.lobs import Lob
from serving.guards import prompt_leak
from serving.guards.claims.check import KINDS
from serving.guards.claims.guard import claims
from serving.guards.content import content
from serving.guards.high_stakes import high_stakes
from serving.guards.injection import injection
from serving.guards.patterns import patterns
from serving.guards.verdict import Action, Guard, gravest


@dataclass(frozen=True, slots=True)
class Check:
    """A guard, and what follows from what it finds.

    Args:
        name: As verdicts and metrics call it.
        action: The gravest that may follow.
        guard: Finds.
        last: Whether it reads only the customer's last words.
        kinds: What follows from a finding of these kinds, where it is not `action`.
        judge: The upstream that may clear what it finds.
    """

    name: str
    action: Action
    guard: Guard
    last: bool = False
    kinds: Mapping[str, Action] = field(default_factory=dict)
    judge: str | None = None

    def may(self, action: Action) -> bool:
        """Say whether this action may follow."""
        return action in {self.action, *self.kinds.values()}

    def action_of(self, kind: str) -> Action:
        """Return what follows from a finding of a kind."""
        return self.kinds.get(kind, self.action)


def of_requests(guards: InputGuards) -> list[Check]:
    """Return the guards that a line asks of its requests; its classifier aside."""
    off_topic = patterns("off_topic", tuple(guards.off_topic.patterns))
    return _on(
        Check("input.injection", guards.injection, injection),
        Check("input.prompt_leak", guards.prompt_leak, prompt_leak.asks),
        Check("input.off_topic", guards.off_topic.action, lambda t, _: off_topic(t), last=True),
    )


def of_answers(guards: OutputGuards, lob: Lob | None = None) -> list[Check]:
    """Return the guards that a line asks of its answers, the rules of its review queue last."""
    rules = lob.reviews.high_stakes if lob is not None and lob.reviews is not None else []
    of_kinds: dict[str, Action] = {kind: guards.claims.action_of(kind) for kind in KINDS}
    return _on(
        Check("output.prompt_leak", guards.prompt_leak, prompt_leak.repeats),
        Check("output.content", guards.content.action, content(guards.content)),
        Check(
            "output.claims",
            gravest(of_kinds.values()),
            claims(guards.claims),
            kinds=of_kinds,
            judge=guards.claims.judge,
        ),
        Check("reviews.high_stakes", Action.REVIEW if rules else Action.OFF, high_stakes(rules)),
    )


def for_customers(check: Check) -> Check:
    """Return a guard of answers that nobody reads before the customer does.

    What would be flagged for the agent to see needs a person's review there.
    """
    kinds = {kind: _stricter(action) for kind, action in check.kinds.items()}
    return replace(check, action=_stricter(check.action), kinds=kinds)


def _stricter(action: Action) -> Action:
    return Action.REVIEW if action is Action.FLAG else action


def _on(*checks: Check) -> list[Check]:
    return [check for check in checks if check.action is not Action.OFF]
