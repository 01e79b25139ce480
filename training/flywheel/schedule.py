"""Is a cycle due? What is known of a line of business in, a decision with its reason out.

Pure, and without memory or chance: any scheduler that looks at the same time decides the same, so
it may be stopped, moved to another machine, or run from cron.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from training.recipe.flywheel import FlywheelConfig

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
Action = Literal["begin", "go_on", "wait"]


@dataclass(frozen=True)
class Situation:
    """What the store says of a line of business.

    Args:
        now: Seconds since the epoch; so are all times here.
        known_since: When a scheduler first looked at it.
        new_feedback: How much feedback came since the last judged cycle.
        paused: Someone paused it.
        forced: Someone wants a cycle now.
        began: When the last cycle began; None before the first.
        is_open: Whether that cycle has more to do.
        on_canary: Whether its version answers on canary now.
        retry_at: When its failed step may be tried again; None if it has not failed.
    """

    now: float
    known_since: float
    new_feedback: int
    paused: bool = False
    forced: bool = False
    began: float | None = None
    is_open: bool = False
    on_canary: bool = False
    retry_at: float | None = None


@dataclass(frozen=True)
class CycleDecision:
    """What to do, why, and if to wait: until when, where that is known."""

    action: Action
    why: str
    at: float | None = None


def decide(rules: FlywheelConfig, at: Situation) -> CycleDecision:
    """Say whether to begin a cycle, to go on with one, or to wait."""
    if at.paused and not (at.is_open and at.on_canary):
        return CycleDecision("wait", "paused" + (", with a cycle under way" if at.is_open else ""))
    if at.is_open:
        if at.retry_at is not None and at.now < at.retry_at and not at.forced:
            return CycleDecision("wait", f"tries again at {clock(at.retry_at)}", at.retry_at)
        return CycleDecision(
            "go_on", "a canary is watched" if at.on_canary else "a cycle is under way"
        )
    if at.forced:
        return CycleDecision("begin", "asked for")
    next_at = due(rules, at.known_since, at.began)
    if at.now < next_at:
        return CycleDecision("wait", f"next at {clock(next_at)}", next_at)
    if at.new_feedback < rules.min_new_feedback:
        return CycleDecision(
            "wait", f"due, but with {at.new_feedback} new feedback of {rules.min_new_feedback}"
        )
    return CycleDecision("begin", f"due, with {at.new_feedback} new feedback")


def due(rules: FlywheelConfig, known_since: float, began: float | None) -> float:
    """Return when the next cycle is due.

    A cycle that began late, or was asked for in between, does not move the hour of the day.

    Args:
        rules: The recipe's section.
        known_since: When a scheduler first looked at the line of business.
        began: When its last cycle began; None before the first.
    """
    if rules.at_hour is None:
        return known_since if began is None else began + rules.every_hours * HOUR_S
    offset = rules.at_hour * HOUR_S
    if began is None:
        return math.ceil((known_since - offset) / DAY_S) * DAY_S + offset
    slot = math.floor((began - offset) / DAY_S) * DAY_S + offset
    return slot + rules.every_hours * HOUR_S


def backoff_s(rules: FlywheelConfig, attempts: int) -> float:
    """Return the wait after so many failures of a step: doubling, up to a cap.

    Without jitter: one lease holder at a time tries, so there is no crowd to spread.
    """
    doublings = min(max(attempts, 1) - 1, 60)
    return float(min(rules.backoff_s * 2.0**doublings, rules.backoff_cap_s))


def gives_up(rules: FlywheelConfig, attempts: int, *, on_canary: bool) -> bool:
    """Say whether so many failures end a cycle; a running canary is never left unwatched."""
    return attempts > rules.retries and not on_canary


def clock(at: float) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
