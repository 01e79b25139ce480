from pathlib import Path

import drafts
import pytest
from drafts import Answered, Typed

from serving.config.prompts import Turn
from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star


def row(draft: str, typed: int, completion: str, sure: float, text: str = "") -> Answered:
    hit = drafts.right(text, typed, completion)
    return Answered(draft, typed, 10.0, 200, completion, sure, hit)


def test_one_draft_of_a_dialog_is_drawn_and_always_the_same(tmp_path: Path) -> None:
    rows = [dialog(number) for number in range(1, 9)]
    for one in rows:
        one["events"][3]["text"] = "It is free for you. "
    rows[0]["events"][3]["text"] = "free"  # too short to be typed
    every = list(star.read(write(tmp_path / "s.jsonl", rows)))
    chosen = drafts.drawn(every, 5, seed=1)
    assert chosen == drafts.drawn(every, 5, seed=1)
    assert len({one.name for one in chosen}) == 5
    assert {one.text for one in chosen} == {"It is free for you."}
    assert len(drafts.drawn(every, 99, seed=1)) == 7
    assert [turn.role for turn in chosen[0].turns] == ["customer", "knowledge"]


def test_a_keystroke_asks_with_what_is_typed_so_far() -> None:
    one = Typed("star-1", (Turn("customer", "Hi"),), "Hello there")
    body = one.body(6, "ended")
    assert (body["draft"], body["conversation_id"], body["lob"]) == ("Hello ", "star-1", "ended")
    assert body["conversation"] == [{"role": "customer", "text": "Hi"}]


@pytest.mark.parametrize(
    ("typed", "completion", "right"),
    [
        (5, " there", True),
        (5, " th", True),
        (5, "there", False),
        (5, "", False),
        (5, " thx", False),
    ],
)
def test_right_is_to_the_character_what_was_typed_next(
    typed: int, completion: str, right: bool
) -> None:
    assert drafts.right("Hello there", typed, completion) is right


def test_what_is_accepted_spares_all_its_characters_but_one_key() -> None:
    text = "Hello there, sir"
    rows = [
        row("d", 2, "llo there", 0.9, text),
        row("d", 5, " there", 0.9, text),  # it stands there already
        row("d", 12, "x", 0.9, text),
        row("d", 13, "s", 0.9, text),  # a key for a key
    ]
    assert drafts.saved(text, rows) == len("llo there") - 1
    assert drafts.saved(text, []) == 0


def test_the_curve_gives_less_and_better_the_more_a_line_abstains() -> None:
    text = "Hello there"
    rows = [
        row(name, typed, " there" if typed == 5 else "no", sure, text)
        for name in ("a", "b", "c")
        for typed, sure in ((5, 0.85), (6, 0.35))
    ]
    rows.append(Answered("a", 7, 10.0, 200))
    points = {point["abstain_below"]: point for point in drafts.curve(rows)}
    assert (points[0.0]["given"], points[0.5]["given"], points[0.9]["given"]) == (6, 3, 0)
    assert points[0.0]["precision"][0] == pytest.approx(0.5)
    assert points[0.5]["precision"][0] == pytest.approx(1.0)
    assert points[0.0]["coverage"][0] == pytest.approx(6 / 7, abs=1e-4)
    assert points[0.9]["precision"] is None


def test_percentiles_say_of_how_many() -> None:
    assert drafts.percentiles([]) == {"count": 0}
    found = drafts.percentiles([1.0, 2.0, 3.0])
    assert (found["p50_ms"], found["count"]) == (2.0, 3)
