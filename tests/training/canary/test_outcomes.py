from typing import Any

import pytest

from serving.routing import bucket
from serving.store.records import Action, FeedbackRecord, Rollout, Route, Served
from training.canary.outcomes import CanaryTrial, Change, Conversation, conversations, trial
from training.recipe.canary import CanaryConfig

RULES = CanaryConfig(window_s=100, slow_ms=1000)
TRIAL = CanaryTrial("care", "care@2", "care@1", (Change(1000, 1002, 0.2), Change(2000, 2003, 0.5)))
LATE = 1e6


def answer(at: float, version: str = "care@1", name: str | None = "c", **more: Any) -> Served:
    content: dict[str, Any] = {
        "id": f"i{at}-{version}",
        "created_at": at,
        "model_requested": "care",
        "version": version,
        "conversation_id": name,
        "latency_ms": 10.0,
        "status": "completed",
        "output": "Good day.",
    }
    said = more.pop("said", ())
    feedback = tuple(
        FeedbackRecord(interaction_id="i", client_key=str(n), created_at=when, **content)
        for n, (when, content) in enumerate(said)
    )
    return Served(**{**content, **more}, feedback=feedback)


def only(*served: Served, now: float = LATE) -> Conversation:
    (found,) = conversations(TRIAL, served, RULES, now)
    return found


def rollout(action: Action, to: str | None, share: float | None, at: float) -> Rollout:
    return Rollout(
        id=int(at),
        lob="care",
        action=action,
        from_version=None,
        to_version=to,
        share=share,
        epoch=int(at),
        key_id=None,
        seconds=2.0,
        created_at=at,
    )


def test_the_trial_is_read_from_the_route_and_its_history() -> None:
    history = [
        rollout(Action.CANARY, "care@2", 0.5, 1),
        rollout(Action.CANCEL_CANARY, None, None, 2),
        rollout(Action.PROMOTE, "care@1", None, 3),
        rollout(Action.CANARY, "care@3", 0.1, 4),
        rollout(Action.CANARY, "care@2", 0.05, 5),
        rollout(Action.CANARY, "care@2", 0.2, 6),
    ]
    route = Route(lob="care", live="care@1", canary="care@2", canary_share=0.2, epoch=6)
    found = trial(route, history, "base")
    assert found == CanaryTrial("care", "care@2", "care@1", (Change(5, 7, 0.05), Change(6, 8, 0.2)))
    assert (found.began, found.share) == (5, 0.2)
    on_base = trial(route.model_copy(update={"live": None}), history, "base")
    assert on_base is not None
    assert on_base.control == "base"


def test_no_canary_is_no_trial() -> None:
    assert trial(None, [], "base") is None
    assert trial(Route(lob="care", live="care@1"), [], "base") is None
    assert trial(Route(lob="care", canary="care@2", canary_share=0.1), [], "base") is None


def test_a_conversation_is_one_outcome_the_mean_over_its_turns() -> None:
    found = only(
        answer(1010, said=[(1011, {"edit": "Good day."})]),
        answer(1020, said=[(1021, {"rejected": True})], latency_ms=5000),
        answer(1030, status="aborted"),
        answer(1040),
    )
    assert found.outcomes == {
        "edit_similarity": 0.5,
        "acceptance": 0.5,
        "slow_answers": 1 / 3,
        "failures": 1 / 4,
    }
    assert (found.canary, found.share, found.id) == (False, 0.2, "c")


@pytest.mark.parametrize(
    ("said", "similarity", "accepted"),
    [
        ({"used": True}, 1.0, 1.0),
        ({"rejected": True}, 0.0, 0.0),
        ({"edit": "Good day!"}, 8 / 9, 1.0),
        ({"edit": "Nothing in common: 123456"}, None, 0.0),
        ({"edit": "Good day.", "rejected": True}, 1.0, 1.0),
        ({"rating": 1.0}, None, 1.0),
        ({"rating": 0.0}, None, 0.0),
        ({"comment": "hm"}, None, None),
    ],
)
def test_feedback_says_what_was_kept(
    said: dict[str, Any], similarity: float | None, accepted: float | None
) -> None:
    outcomes = only(answer(1010, said=[(1011, said)])).outcomes
    if similarity is not None:
        assert outcomes["edit_similarity"] == pytest.approx(similarity)
    assert outcomes.get("acceptance") == accepted


def test_a_conversation_counts_once_when_its_window_is_over() -> None:
    turns = [answer(1010), answer(1105, said=[(1106, {"rejected": True})]), answer(1111)]
    assert conversations(TRIAL, turns, RULES, now=1109) == []
    late = (1111.0, {"used": True})
    turns[1] = answer(1105, said=[(1106, {"rejected": True}), late])
    found = only(*turns)
    assert found.outcomes["edit_similarity"] == 0  # and what was said later is not heard
    assert conversations(TRIAL, turns, RULES, now=1111) == [found]


def test_looking_later_only_adds_conversations_at_the_end() -> None:
    turns = [answer(1010 + 7 * n, name=f"c{n % 40}") for n in range(60)]
    before: list[Conversation] = []
    for now in range(1000, 1600, 20):
        found = conversations(TRIAL, turns, RULES, now)
        assert found[: len(before)] == before
        before = found
    assert len(before) == 40


def test_pinned_answers_and_other_versions_are_left_out() -> None:
    served = [
        answer(1010, "care@2", "a", model_requested="care@2"),
        answer(1010, "care@7", "b"),
        answer(900, name="c"),
    ]
    assert conversations(TRIAL, served, RULES, LATE) == []


def test_conversations_that_began_while_replicas_changed_are_left_out() -> None:
    served = [answer(1001, name="a"), answer(2002, name="b"), answer(2003, name="c")]
    assert [c.id for c in conversations(TRIAL, served, RULES, LATE)] == ["c"]


def test_without_a_conversation_id_each_answer_is_one() -> None:
    served = [answer(1010, name=None), answer(1011, name=None)]
    assert [c.id for c in conversations(TRIAL, served, RULES, LATE)] == [s.id for s in served]


def test_a_conversation_that_saw_both_arms_is_left_out_and_biases_nothing() -> None:
    """All conversations span the growth; the share given must be the one among those that stay."""
    served = []
    for number in range(4000):
        name = f"c{number}"
        hashed = bucket("care", name)
        for at, share in ((1950, 0.2), (2010, 0.5)):
            version = "care@2" if hashed < share else "care@1"
            served.append(answer(at, version, name, id=f"{name}-{at}"))
    kept = conversations(TRIAL, served, RULES, LATE)
    assert 0.6 < len(kept) / 4000 < 0.8  # 0.2 stay with the canary, 0.5 with the control
    assert {c.share for c in kept} == {0.2 / 0.7}
    assert sum(c.canary for c in kept) / len(kept) == pytest.approx(0.2 / 0.7, abs=0.03)
