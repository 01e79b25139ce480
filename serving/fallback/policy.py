"""Which steps may answer a request, in which order, and what makes the next one be tried.

A line of business may have a chain of fallbacks behind the version that routing chose: the
version that was live before, the base model, upstreams. These are pure decisions; chain.py
carries them out. A version that the client pinned, and the base model asked for by name, have no
fallbacks: who names a model wants that model's answer or an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.names import BASE, PREVIOUS
from serving.routing import Table, Target
from serving.store.records import UPSTREAM

Reason = Literal["adapter", "prompt", "engine", "slow", "error", "refused", "connection", "breaker"]
"""Why a step did not answer: its adapter cannot be loaded; its own prompt cannot tell what was
asked; the engine is dead; no first byte in time; it failed (5xx); an upstream refused us (its key,
its quota); an upstream cannot be reached or answers nonsense; its circuit breaker is open."""

# An upstream's answers to a fault of ours (credentials, model, rate), not of our client.
_OURS = frozenset({401, 402, 403, 404, 405, 408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that can answer: a version in our engine, or `upstream:NAME`."""

    name: str

    @property
    def upstream(self) -> str | None:
        """The upstream's name; None where our own engine answers."""
        return self.name.removeprefix(UPSTREAM) if self.name.startswith(UPSTREAM) else None


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
    return (step.name,) if step.upstream else (ENGINE, step.name)


def culprit(step: Step, reason: Reason) -> str:
    """The circuit breaker that a failure counts against: slowness is the engine's, not one's."""
    return ENGINE if not step.upstream and skips_engine(reason) else step.name
