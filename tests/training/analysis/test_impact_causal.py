import random
from typing import Any

import pytest

from serving.store.records import Action, Rollout, Served
from tests.training.analysis.test_impact import served
from tests.training.records import of_arm
from training.analysis.impact import answers
from training.analysis.impact_causal import Comparison, compare, trials

END = 1e6


def rollout(action: Action, to: str | None, share: float | None, at: float) -> Rollout:
    content: dict[str, Any] = {"id": int(at), "lob": "care", "from_version": None, "key_id": None}
    content |= {"action": action, "to_version": to, "share": share, "epoch": int(at)}
    return Rollout(**content, seconds=0.0, created_at=at)


def test_each_canary_has_its_control_its_shares_and_its_end() -> None:
    history = [
        rollout(Action.CANARY, "care@1", 0.5, 1),
        rollout(Action.PROMOTE, "care@1", None, 2),
        rollout(Action.CANARY, "care@2", 0.05, 3),
        rollout(Action.CANARY, "care@2", 0.2, 4),
        rollout(Action.CANCEL_CANARY, None, None, 5),
        rollout(Action.CANARY, "care@3", 0.1, 6),
        rollout(Action.CANARY, "care@4", 0.1, 7),
        rollout(Action.ROLLBACK, None, None, 8),
        rollout(Action.CANARY, "care@5", 0.1, 9),
    ]
    found = [
        (trial.canary, trial.control, [c.share for c in trial.changes], end)
        for trial, end in trials("care", history, "base")
    ]
    assert found == [
        ("care@1", "base", [0.5], 2),
        ("care@2", "care@1", [0.05, 0.2], 5),
        ("care@3", "care@1", [0.1], 7),
        ("care@4", "care@1", [0.1], 8),
        ("care@5", "base", [0.1], None),
    ]
    assert trials("care", [], "base") == []


def conversation(
    n: int, canary: bool, used: bool, handling_s: float, at: float, share: float = 0.5
) -> Served:
    said = {"used": True} if used else {"rejected": True}
    return served(
        f"i{n}",
        {**said, "at": at + 1 + handling_s},
        created_at=at,
        version="care@2" if canary else "care@1",
        conversation_id=of_arm("care@2", canary, n, share),
    )


def compared(rows: list[Served], history: list[Rollout]) -> Comparison | None:
    (trial, end) = trials("care", history, "base")[-1]
    return compare(trial, end or END, rows, answers(rows, "care"), window_s=100)


HISTORY = [rollout(Action.PROMOTE, "care@1", None, 1), rollout(Action.CANARY, "care@2", 0.5, 10)]


def test_a_known_difference_is_found() -> None:
    rows = [conversation(n, True, n % 4 != 0, 8, 1000.0 + n) for n in range(40)]
    rows += [conversation(100 + n, False, n % 2 != 0, 12, 1000.0 + n) for n in range(40)]
    found = compared(rows, HISTORY)
    assert found is not None
    assert (found.canary, found.control, found.conversations) == ("care@2", "care@1", (40, 40))
    assert found.usage is not None
    assert found.usage.mean == pytest.approx(0.25)
    assert found.usage.low > 0
    assert found.keystrokes is not None
    assert found.keystrokes.mean == pytest.approx(4)
    assert found.saved_s is not None
    assert (found.saved_s.mean, found.saved_s.low) == (pytest.approx(4), pytest.approx(4))


def test_a_growing_share_does_not_compare_the_afternoon_with_the_morning() -> None:
    """The versions are alike; mornings are good, and the canary got most of its share later."""
    chance = random.Random(0)
    rows, plain = [], {True: [], False: []}
    history = [*HISTORY[:1], rollout(Action.CANARY, "care@2", 0.1, 10)]
    history.append(rollout(Action.CANARY, "care@2", 0.9, 50_000))
    for n in range(3000):
        morning = n < 1500
        canary = chance.random() < (0.1 if morning else 0.9)
        used = chance.random() < (0.9 if morning else 0.3)
        plain[canary].append(used)
        at = 1000.0 + n if morning else 60_000.0 + n
        rows.append(conversation(n, canary, used, 10, at, 0.1 if morning else 0.9))
    naive = sum(plain[True]) / len(plain[True]) - sum(plain[False]) / len(plain[False])
    found = compared(rows, history)
    assert found is not None
    assert found.usage is not None
    assert naive < -0.4
    assert found.usage.low <= 0 <= found.usage.high
    assert abs(found.usage.mean) < 0.1


def test_too_few_conversations_of_an_arm_compare_nothing() -> None:
    rows = [conversation(n, n < 4, True, 8, 1000.0 + n) for n in range(40)]
    assert compared(rows, HISTORY) is None


def test_arms_that_an_older_server_drew_by_another_hash_are_not_compared() -> None:
    rows = [conversation(n, n % 2 == 0, True, 8, 1000.0 + n) for n in range(40)]
    other = [
        row.model_copy(update={"version": "care@1" if row.version == "care@2" else "care@2"})
        for row in rows
    ]
    assert compared(rows, HISTORY) is not None
    assert compared(other, HISTORY) is None


def test_what_was_answered_after_the_end_does_not_count() -> None:
    rows = [conversation(n, n % 2 == 0, True, 8, 1000.0 + n) for n in range(40)]
    ended = [*HISTORY, rollout(Action.CANCEL_CANARY, None, None, 1050)]
    assert compared(rows, ended) is None
    assert compared(rows, HISTORY) is not None
