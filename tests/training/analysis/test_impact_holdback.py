"""The effect of showing, where the truth is known."""

from typing import Any

import numpy as np
import pytest

from serving.draws import holds_back
from serving.store.records import Served
from tests.training.analysis.test_impact import served
from training.analysis.impact import answers, table
from training.analysis.impact_holdback import LEAST, Turn, effect, turns

SHARE = 0.2


def drawn(name: str, *said: dict[str, Any], shown: bool = True, **fields: Any) -> Served:
    return served(name, *said, shown_by_draw=shown, holdback=SHARE, **fields)


def only(*rows: Served) -> Turn:
    (found,) = turns(rows, "care")
    return found


def test_both_arms_are_timed_alike_until_the_text_reached_the_server() -> None:
    events = {"displayed": (5e6, 103.0), "went_out": (5e6 + 99, 113.0)}
    typed = {"edit": "Mine.", "used": False, "at": 113.0}
    held = only(drawn("h", typed, shown=False, went_out=(7e6, 113.0), typed=True))
    assert held.seconds == only(drawn("s", {"used": True}, **events)).seconds == 12
    assert only(drawn("s", {"edit": "We sent it.", "at": 113.0})).seconds == 12
    assert only(drawn("s", {"rejected": True})).seconds is None
    assert only(drawn("s", {"used": True, "at": 99.0})).seconds is None


def test_a_click_is_not_the_end() -> None:
    clicked = drawn("s", {"used": True})
    (said,) = clicked.feedback
    clicked = clicked.model_copy(
        update={"feedback": (said.model_copy(update={"client_key": "event:e1"}),)}
    )
    assert only(clicked).seconds is None
    assert only(clicked).alike == 1


def test_a_turn_held_for_a_person_stays_in_its_arm_without_the_reviewers_act() -> None:
    decided = {"edit": "We sent it.", "used": True, "at": 113.0}
    for shown in (True, False):
        found = only(drawn("r", decided, shown=shown, held=True))
        assert (found.shown, found.seconds, found.alike) == (shown, None, None)
    sent = only(drawn("r", decided, held=True, went_out=(7e6, 113.0)))
    assert sent.seconds == 12, "an agent's event tells the time"


def test_the_final_text_is_compared_with_the_first_candidate_in_both_arms() -> None:
    second = {"used": True, "index": 1}
    assert only(drawn("s", second, others={1: "zzzz"})).alike == 0
    assert only(drawn("s", second, others={1: "zzzz"})).characters == 4
    assert only(drawn("h", {"edit": "We will send it."}, shown=False)).alike == 1
    assert only(drawn("s", {"rejected": True})).alike is None


def test_a_turn_that_was_asked_again_is_one_turn() -> None:
    common: dict[str, Any] = {"conversation_id": "c", "shown": False}
    typed = {"edit": "Mine.", "used": False, "at": 131.0}
    found = only(drawn("a", **common), drawn("b", typed, created_at=110.0, **common))
    assert (found.seconds, found.characters) == (30, 5)


def test_only_agents_turns_that_were_drawn_count() -> None:
    rows = [
        drawn("pinned", model_requested="care@1"),
        drawn("aborted", status="aborted"),
        served("undrawn"),
    ]
    assert turns(rows, "care") == []
    assert effect([]) is None
    assert effect(turns([drawn("s")], "care")) is None


def world(saving_s: float, seed: int, conversations: int = 400) -> list[Served]:
    """Return turns of which agents use the easy ones; showing saves the same on every turn."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(conversations):
        pace = rng.normal(0, 3)
        for turn in range(1, 11, 2):
            name = f"{seed}-{number}"
            held = holds_back("care", SHARE, name, turn)
            hard = rng.random() < 0.5
            seconds = 30 + 20 * hard + pace + rng.normal(0, 2) - (0 if held else saving_s)
            end = 101 + float(seconds)
            copied = not held and not hard
            said = {"used": True} if copied else {"edit": "Something else.", "used": False}
            rows.append(
                drawn(
                    f"{name}-{turn}",
                    said | {"at": end},
                    shown=not held,
                    conversation_id=name,
                    turn_position=turn,
                    typed=not copied,
                    displayed=None if held else (1.0, 102.0),
                    went_out=(end, end),
                )
            )
    return rows


def test_the_draw_finds_the_saving_that_agents_choice_hides() -> None:
    rows = world(4.0, seed=1)
    found = effect(turns(rows, "care"))
    assert found is not None
    assert sum(found.turns) == len(rows)
    assert found.turns == found.timed == found.known
    assert found.turns[1] / len(rows) == pytest.approx(SHARE, abs=0.03)
    assert found.saved_s is not None
    assert found.saved_s.low < 4 < found.saved_s.high
    assert found.alike is not None
    assert found.alike.low > 0
    assert "By chance" in found.words()
    row = table(answers(rows, "care"))[-1]
    assert row.saved_s is not None
    assert row.saved_s.low > 15  # what is not used is hard


def test_its_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held, runs = 0, 60
    for seed in range(runs):
        found = effect(turns(world(4.0, seed, conversations=60), "care"))
        assert found is not None
        assert found.saved_s is not None
        held += found.saved_s.low <= 4 <= found.saved_s.high
    assert held >= 0.85 * runs


def test_a_share_that_moved_does_not_compare_the_evening_with_the_morning() -> None:
    rng = np.random.default_rng(3)
    found = []
    for number in range(1200):
        morning = number < 600
        share = 0.1 if morning else 0.5
        shown = bool(rng.random() >= share)
        length = 100.0 if morning else 20.0
        found.append(Turn(f"c{number}", shown, share, length + rng.normal(), 0.5, length))
    made = effect(found)
    assert made is not None
    assert made.characters is not None
    assert made.characters.low <= 0 <= made.characters.high
    assert abs(made.characters.mean) < 10  # the plain means differ by 30


def test_too_few_conversations_of_an_arm_compare_nothing() -> None:
    few = [Turn(f"s{n}", True, 0.1, 10.0, 0.5, 9.0) for n in range(50)]
    few += [Turn(f"h{n}", False, 0.1, 20.0, 0.5, 9.0) for n in range(LEAST - 1)]
    made = effect(few)
    assert made is not None
    assert (made.saved_s, made.alike, made.characters) == (None, None, None)
    assert made.seconds == (10, 20)
    assert "no effect yet" in made.words()
    enough = effect([*few, Turn("h", False, 0.1, 20.0, 0.5, 9.0)])
    assert enough is not None
    assert enough.saved_s is not None
