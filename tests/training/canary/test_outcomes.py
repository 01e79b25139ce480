from typing import Any

import pytest

from serving.draws import in_canary
from serving.store.records import Action, FeedbackRecord, Rollout, Route, Served
from training.canary.outcomes import CanaryTrial, Change, Conversation, conversations, trial
from training.recipe.canary import CanaryConfig

RULES = CanaryConfig(window_s=100, slow_ms=1000)
TRIAL = CanaryTrial("care", "care@2", "care@1", (Change(1000, 1002, 0.2), Change(2000, 2003, 0.5)))
LATE = 1e6
NAMES = [f"c{number}" for number in range(4000)]
OURS = next(name for name in NAMES if in_canary("care@2", 0.2, name))
THEIRS = next(name for name in NAMES if not in_canary("care@2", 0.5, name))


def answer(at: float, version: str = "care@1", name: str | None = THEIRS, **more: Any) -> Served:
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
        "usage": 1 / 4,
        "judged": 1 / 2,
    }
    assert (found.canary, found.share, found.id) == (False, 0.2, THEIRS)


def test_a_held_answer_is_not_shown_and_counts_by_what_the_person_said() -> None:
    seen = (1012.0, 1012.0)
    found = only(
        answer(1010, said=[(1011, {"edit": "Good day.", "used": True})], held=True, displayed=seen),
        answer(1020, displayed=seen),
    )
    assert found.outcomes["held"] == found.outcomes["shown"] == 1 / 2
    assert found.outcomes["usage"] == 1 / 2
    none = only(answer(1010), answer(1020))
    assert "held" not in none.outcomes, "no person is asked"


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


def test_pinned_answers_and_earlier_ones_are_left_out() -> None:
    served = [answer(1010, "care@2", "a", model_requested="care@2"), answer(900, name="c")]
    assert conversations(TRIAL, served, RULES, LATE) == []


def test_conversations_that_began_while_replicas_changed_are_left_out() -> None:
    served = [answer(1001, name="a"), answer(2002, name="b"), answer(2003, name="c")]
    assert [c.id for c in conversations(TRIAL, served, RULES, LATE)] == ["c"]


def test_answers_outside_conversations_are_not_compared() -> None:
    assert conversations(TRIAL, [answer(1010, name=None)], RULES, LATE) == []


def test_of_a_conversation_that_a_change_overtakes_the_turns_before_count() -> None:
    used = {"used": True}
    served = [
        answer(1950, name=THEIRS, said=[(2010, used)]),
        answer(2010, "care@2", THEIRS, said=[(2011, {"rejected": True})]),
    ]
    found = only(*served)
    assert (found.canary, found.share, found.outcomes["usage"]) == (False, 0.2, 1)


@pytest.mark.parametrize("by", ["care@1", "base", "upstream:cloud"])
def test_a_canary_that_a_fallback_covers_has_failed_though_agents_liked_the_answer(by: str) -> None:
    found = only(answer(1010, by, OURS, said=[(1011, {"used": True, "rating": 1.0})]))
    assert (found.canary, found.answered_by_arm) == (True, 0)
    assert found.outcomes == {
        "failures": 1,
        "slow_answers": 0,
        "usage": 0,
        "judged": 1,
        "edit_similarity": 0,
        "acceptance": 0,
    }


def test_silence_is_no_use_and_no_judgement() -> None:
    outcomes = only(answer(1010)).outcomes
    assert (outcomes["usage"], outcomes["judged"]) == (0, 0)
    assert "acceptance" not in outcomes


def test_the_arms_have_the_share_of_the_time_when_their_conversations_began() -> None:
    served = [
        answer(at, "care@2" if in_canary("care@2", share, name) else "care@1", name, id=name)
        for at, share, names in ((1950, 0.2, NAMES[:2000]), (2010, 0.5, NAMES[2000:]))
        for name in names
    ]
    kept = conversations(TRIAL, served, RULES, LATE)
    for share in (0.2, 0.5):
        mine = [c.canary for c in kept if c.share == share]
        assert len(mine) == 2000
        assert sum(mine) / len(mine) == pytest.approx(share, abs=0.035)
    assert {c.answered_by_arm for c in kept} == {1}


def displayed(at: float, heard: float, **more: Any) -> Served:
    return answer(at, displayed=(9e9, heard), **more)  # a client's clock may be years ahead


def test_an_answer_is_shown_where_an_event_came_in_time_to_say_so() -> None:
    outcomes = only(displayed(1010, 1011), displayed(1020, 1200), answer(1030), answer(1040))
    assert outcomes.outcomes["shown"] == 1 / 4


def test_shown_is_judged_in_both_arms_or_in_neither() -> None:
    silent = [answer(1010), answer(1010, "care@2", OURS)]
    assert all("shown" not in c.outcomes for c in conversations(TRIAL, silent, RULES, LATE))
    told = [displayed(1010, 1011), answer(1010, "care@2", OURS)]
    found = {c.canary: c.outcomes["shown"] for c in conversations(TRIAL, told, RULES, LATE)}
    assert found == {False: 1, True: 0}


def test_what_a_fallback_answered_is_not_shown_by_the_canary_s_merit() -> None:
    told = [displayed(1010, 1011), displayed(1010, 1011, version="care@1", name=OURS)]
    found = {c.canary: c.outcomes["shown"] for c in conversations(TRIAL, told, RULES, LATE)}
    assert found == {False: 1, True: 0}


def test_a_reply_that_was_typed_is_judged_and_not_used_however_alike() -> None:
    typed = {"edit": "Good day.", "used": False}
    outcomes = only(answer(1010, said=[(1011, typed)])).outcomes
    assert (outcomes["edit_similarity"], outcomes["judged"]) == (1, 1)
    assert (outcomes["usage"], outcomes["acceptance"]) == (0, 0)
    again = only(answer(1010, said=[(1011, typed), (1012, {"edit": "Good day!"})])).outcomes
    assert again["usage"] == 1


def test_of_a_turn_for_which_the_line_abstained_only_the_answer_s_making_is_judged() -> None:
    typed = (1021, {"edit": "Something else", "used": False})
    silent = answer(1020, output="", finish_reason="abstained", said=[typed], latency_ms=5000)
    assert only(silent).outcomes == {"slow_answers": 1, "failures": 0}
    beside = only(displayed(1010, 1011), silent).outcomes
    assert (beside["shown"], beside["failures"], beside["judged"]) == (1, 0, 0)


def test_of_a_turn_that_was_held_back_only_the_answer_s_making_is_judged() -> None:
    typed = (1021, {"edit": "Something else", "used": False})
    held = answer(1020, shown_by_draw=False, said=[typed], latency_ms=5000)
    alone, beside = only(held), only(displayed(1010, 1011, shown_by_draw=True), held)
    assert alone.outcomes == {"slow_answers": 1, "failures": 0}
    assert beside.outcomes == {
        "slow_answers": 1 / 2,
        "failures": 0,
        "usage": 0,
        "judged": 0,
        "shown": 1,
    }
