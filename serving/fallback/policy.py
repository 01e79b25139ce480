"""Which steps may answer a request, in which order, and what makes the next one be tried.

A line of business may have a chain of fallbacks behind the version that routing chose: the
version that was live before, the base model, upstreams. These are pure decisions; chain.py
carries them out. A version that the client pinned, and the base model asked for by name, have no
fallbacks: who names a model wants that model's answer or an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.errors import InvalidRequest
from serving.fallback.upstream import FIELDS
from serving.names import BASE, PREVIOUS
from serving.routing import Table, Target
from serving.store.records import UPSTREAM

Reason = Literal["adapter", "prompt", "engine", "slow", "error", "refused", "connection", "breaker"]
"""Why a step did not answer: its adapter cannot be loaded; its own prompt cannot tell what was
asked, or the upstream that answers for it takes no such request; the engine is dead; no first byte
in time; it failed (5xx); an upstream refused us (its key, its quota); an upstream cannot be reached
or answers nonsense; its circuit breaker is open."""

# An upstream's answers to a fault of ours (credentials, model, rate), not of our client.
_OURS = frozenset({401, 402, 403, 404, 405, 408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that can answer: a version, or `upstream:NAME`.

    Args:
        name: Which.
        via: The upstream that answers for a version; None: our engine does.
    """

    name: str
    via: str | None = None

    @property
    def upstream(self) -> str | None:
        """The upstream's name; None where our own engine answers."""
        return self.name.removeprefix(UPSTREAM) if self.name.startswith(UPSTREAM) else self.via

    @property
    def version(self) -> str | None:
        """The version, or the base; None where an upstream answers as itself."""
        return None if self.name.startswith(UPSTREAM) else self.name


def steps(
    target: Target, chain: Sequence[str], table: Table, *, upstreams: bool = True
) -> tuple[Step, ...]:
    """The steps of a request, each once, the first being what routing chose.

    Args:
        target: What routing chose.
        chain: The line's configured fallbacks.
        table: The routing table that `target` came from.
        upstreams: Whether an upstream could answer this endpoint.

    Returns:
        The steps; fewer than two mean that there is nothing to fall back to.
    """
    first = Step(target.version)
    if target.pinned or target.lob is None:
        return (first,)
    found = [first]
    for entry in chain:
        if entry == PREVIOUS:
            step = Step(_previous(target, table))
        elif entry == BASE:
            step = Step(table.base)
        else:
            step = Step(entry)
        if step not in found and (upstreams or not step.upstream):
            found.append(step)
    return tuple(found)


def takes(path: str, body: Mapping[str, Any]) -> bool:
    """Whether an upstream can be asked this: it would answer a draft, rather than go on from it."""
    return path in FIELDS and not body.get("continue_final_message")


def require(step: Step, path: str, body: Mapping[str, Any]) -> None:
    """Refuse what a version's upstream cannot be asked; raises InvalidRequest."""
    if step.via and not takes(path, body):
        what = "going on from a draft" if path in FIELDS else path
        raise InvalidRequest(
            f"Another server answers for {step.name} (`upstreams.{step.via}`): it cannot be asked "
            f"for {what}. Ask for a whole chat completion.",
            param="model",
        )


def _previous(target: Target, table: Table) -> str:
    """For a canary, the live version; for the live version, what a rollback leads to."""
    route = table.routes.get(target.lob or "")
    if route is None:
        return table.base
    return (route.live if target.version == route.canary else route.previous) or table.base


def failure(status: int, *, upstream: bool) -> Reason | None:
    """Why an HTTP status makes the next step be tried; None if it is the client's answer."""
    if status >= 500:
        return "error"
    return "refused" if upstream and status in _OURS else None


def skips_engine(reason: Reason) -> bool:
    """Whether another version in our engine would fail for the same reason."""
    return reason in {"engine", "slow"}


ENGINE = "engine"
"""The circuit breaker of our engine as a whole, beside one for each version and upstream."""


def breakers(step: Step) -> tuple[str, ...]:
    """The circuit breakers that must let a step pass."""
    return (f"{UPSTREAM}{step.upstream}",) if step.upstream else (ENGINE, step.name)


def culprit(step: Step, reason: Reason) -> str:
    """The circuit breaker that a failure counts against: slowness is the engine's, not one's."""
    if step.upstream:
        return f"{UPSTREAM}{step.upstream}"
    return ENGINE if skips_engine(reason) else step.name
