"""A line's rules: customers' words that are answered without a model, or by a version of choice."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from serving import names
from serving.config.base import Section
from serving.config.guards import Patterns, compiled
from serving.config.secrets import SecretName

SLOT = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
RULES_LIMIT = 200


class Webhook(Section):
    """A service of yours that knows what the answer needs, such as a balance."""

    url: str = Field(
        pattern=r"^https?://[^/?#@]+(/[^?#]*)?$",
        description="It gets a POST of the rule, line, slots and conversation's id, and returns a "
        "JSON object of more slots.",
    )
    api_key: SecretName | None = Field(
        None, description="Sent as a bearer token, by name: ${NAME} or ${file:/run/secrets/name}."
    )
    timeout_s: float = Field(2.0, gt=0, le=30, description="Longest wait; then the model answers.")


class RuleTest(Section):
    """What a customer may say, and what the rules must do then."""

    says: str = Field(min_length=1, max_length=2000, description="The customer's last message.")
    slots: dict[str, str] = Field(
        default_factory=dict, description="What the webhook would return for it."
    )
    answer: str | None = Field(
        None, description="The rule's answer, whole; left out where this rule must not match."
    )
    matches: bool = Field(True, description="Whether this rule is the one that matches.")


class Rule(Section):
    """One rule of a line; the first that matches decides."""

    name: Annotated[str, StringConstraints(pattern=f"^{names.LOB.pattern}$")] = Field(
        description="What answers are stored by: version rule:NAME@N."
    )
    version: int = Field(
        ge=1, le=10**6, description="N; raise it with every change, so that figures stay apart."
    )
    patterns: Patterns = Field(
        min_length=1,
        description="Regular expressions in any case, sought in the customer's last message; named "
        "groups are slots.",
    )
    tasks: tuple[Literal["suggestion", "chat"], ...] = Field(
        ("suggestion", "chat"),
        min_length=1,
        description="Where it answers: /v1/suggestions, /v1/chat/completions.",
    )
    answer: str | None = Field(
        None, min_length=1, max_length=4000, description="The answer; {slot} is filled in."
    )
    webhook: Webhook | None = Field(None, description="Who is asked for further slots.")
    route: str | None = Field(
        None,
        description="In place of an answer, what answers: base, or a version of the line (care@3).",
    )
    tests: list[RuleTest] = Field(
        default_factory=list, max_length=100, description="Checked by `switchboard rules test`."
    )

    @property
    def artifact(self) -> str:
        """The version that its answers are stored by."""
        return f"rule:{self.name}@{self.version}"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.answer is None) == (self.route is None):
            raise ValueError(f"{self.name}: give an answer or a route, and not both")
        if self.webhook is not None and self.route is not None:
            raise ValueError(f"{self.name}: a webhook fills an answer, and a route has none")
        wanted = set(SLOT.findall(self.answer or ""))
        if self.webhook is None:
            for pattern in self.patterns:
                missing = sorted(wanted - set(compiled(pattern).groupindex))
                if missing:
                    raise ValueError(
                        f"{self.name}: the answer has {{{missing[0]}}}, and {pattern!r} has no "
                        f"group (?P<{missing[0]}>…), nor is there a webhook"
                    )
        return self


def _distinct(rules: list[Rule]) -> list[Rule]:
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise ValueError(f"there are two rules called {rule.name!r}")
        seen.add(rule.name)
    return rules


Rules = Annotated[list[Rule], Field(max_length=RULES_LIMIT), AfterValidator(_distinct)]
"""A line's rules, in the order in which they are tried."""


def check_routes(name: str, rules: list[Rule]) -> None:
    """Refuse a route to what is not the line's.

    Raises:
        ValueError: It is; names the rule.
    """
    for rule in rules:
        if rule.route not in (None, "base") and not names.is_version_of(name, str(rule.route)):
            raise ValueError(
                f"{name}.rules: {rule.name} routes to {rule.route!r}: write base, or a version of "
                f"the line such as {name}@3"
            )


def secrets(name: str, rules: list[Rule]) -> list[tuple[str, str]]:
    """Return the keys of a line's rules that name secrets, with their values."""
    return [
        (f"lobs.{name}.rules.{rule.name}.webhook.api_key", rule.webhook.api_key)
        for rule in rules
        if rule.webhook is not None and rule.webhook.api_key is not None
    ]
