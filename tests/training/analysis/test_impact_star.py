import os
from dataclasses import replace
from pathlib import Path

import pytest

from serving.config.prompts import Turn
from tests.training.data.formats.dialogs import dialog, write
from training.analysis import impact_report
from training.analysis.impact import table
from training.analysis.impact_star import POSITIONS, answers, words
from training.data.formats import star
from training.data.formats.star import StarDialog
from training.errors import DatasetError

STAR_DIR = os.environ.get("SWITCHBOARD_STAR_DIR")  # read before the environment is cleared


def dialogs(folder: Path, count: int = 2) -> list[StarDialog]:
    rows = [dialog(number, "bank" if number == 9 else "hotel") for number in range(1, count + 1)]
    return list(star.read(write(folder / "s.jsonl", rows)))


def test_a_picked_reply_was_used_and_a_typed_one_left_each_timed_from_the_customer_s_message(
    tmp_path: Path,
) -> None:
    first, last = answers(dialogs(tmp_path, 1))
    assert (first.position, first.fate, first.handling_s) == ("first", "as it was", 12.0)
    assert (last.position, last.fate, last.handling_s) == ("last", "left", 30.0)
    assert first.conversation == last.conversation
    assert (first.distance, first.keystrokes) == (None, None)


def test_the_only_reply_of_a_dialog_opens_it_and_one_before_the_customer_has_no_time(
    tmp_path: Path,
) -> None:
    (one,) = dialogs(tmp_path, 1)
    opened = replace(one.replies[0], asked_at=None)
    (only,) = answers([replace(one, replies=(opened,))])
    assert (only.position, only.handling_s) == ("first", None)
    three = replace(one, replies=(opened, *one.replies))
    assert [each.position for each in answers([three])] == ["first", "middle", "last"]


def test_positions_with_their_shares_and_times_are_said_with_why_it_is_no_saving(
    tmp_path: Path,
) -> None:
    some = dialogs(tmp_path)
    mixed = [replace(r, picked=not r.picked, at=r.at + 4) for r in some[1].replies]
    some[1] = replace(some[1], replies=tuple(mixed))
    turns = list(some[0].turns)
    turns[3] = Turn("customer", "?" * 45)  # before the reply that was typed
    some[0] = replace(some[0], turns=tuple(turns))
    said = words(table(answers(some), positions=POSITIONS), some)
    assert "Picked: 50% and 50% of the replies in first and last position." in said
    assert "Median reply: 12 and 34 s picked against 16 and 30 s typed." in said
    assert "not a saving: nothing was randomised, and agents type where a turn is hard or" in said
    assert "median 30 characters where they typed, 14 where they picked" in said


def test_positions_without_both_kinds_of_reply_have_no_comparison(tmp_path: Path) -> None:
    some = dialogs(tmp_path)
    said = words(table(answers(some), positions=POSITIONS), some)
    assert "Picked: 100% and 0%" in said
    assert "Median reply" not in said
    assert "not a saving" in said


def test_a_report_is_of_the_dialogs_about_one_domain_or_of_all(tmp_path: Path) -> None:
    file = write(
        tmp_path / "s.jsonl", [dialog(n, "bank" if n == 3 else "hotel") for n in (1, 2, 3)]
    )
    assert [row.shown for row in impact_report.of_star(file).rows] == [3, 3, 6]
    assert [row.shown for row in impact_report.of_star(file, "hotel").rows] == [2, 2, 4]
    with pytest.raises(DatasetError, match=r"about taxi alone.*bank, hotel"):
        impact_report.of_star(file, "taxi")


@pytest.mark.skipif(not STAR_DIR, reason="SWITCHBOARD_STAR_DIR does not name STAR's folder")
def test_star_s_own_log_is_reproduced() -> None:
    report = impact_report.of_star(Path(str(STAR_DIR)) / "star.jsonl.gz")
    rows = {row.position: row for row in report.rows}
    told = {
        place: (round(row.usage_of_shown, 2), row.used_s, row.unused_s)
        for place, row in rows.items()
        if place != "all"
    }
    assert told == {"first": (0.91, 18, 38), "middle": (0.86, 20, 39), "last": (0.87, 12, 26)}
    assert "Picked: 91%, 86% and 87% of the replies in first, middle and last" in report.notes[0]
    assert "18, 20 and 12 s picked against 38, 39 and 26 s typed" in report.notes[0]
    assert "not a saving" in report.notes[0]
