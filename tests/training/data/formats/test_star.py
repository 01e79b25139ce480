import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from serving.config.prompts import Turn
from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star
from training.errors import DatasetError

STAR_DIR = os.environ.get("SWITCHBOARD_STAR_DIR")  # read before the environment is cleared


def fault(file: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(star.read(file))
    return caught.value.message.replace(str(file), "FILE")


@pytest.mark.parametrize("name", ["star.jsonl", "star.jsonl.gz"])
def test_messages_look_ups_drafts_and_picks_are_read_in_order(tmp_path: Path, name: str) -> None:
    (one, two) = star.read(write(tmp_path / name, [dialog(1), dialog(2, "bank")]))
    assert one.turns == (
        Turn("customer", "Is room 1 free?"),
        Turn("knowledge", "Name: Room 1; Free: true"),
        Turn("agent", "Room 1 is free."),
        Turn("customer", "Great, book 1."),
        Turn("agent", "I booked Room 1 for you."),
    )
    picked, written = one.replies
    assert (picked.turn, picked.picked, picked.seconds) == (2, True, 12.0)
    assert [(draft.text, picked.at - draft.at) for draft in picked.drafts] == [("free", 3.0)]
    assert (written.turn, written.picked, written.seconds, written.drafts) == (4, False, 30.0, ())
    assert two.domains == {"bank"}


def test_a_look_up_without_a_result_says_so(tmp_path: Path) -> None:
    row = dialog(1)
    del row["events"][2]["item"]
    (read,) = star.read(write(tmp_path / "star.jsonl", [row]))
    assert read.turns[1] == Turn("knowledge", "nothing was found")


def test_a_dialog_is_about_its_domains_and_nothing_else(tmp_path: Path) -> None:
    rows = [dialog(1), dialog(2, domains=["hotel", "ride"]), dialog(3, domains=[])]
    one, two, none = star.read(write(tmp_path / "star.jsonl", rows))
    hotel = frozenset({"hotel"})
    assert [d.about(hotel) for d in (one, two, none)] == [True, False, False]
    assert two.about(frozenset({"hotel", "ride"}))


def changed(**event: Any) -> dict[str, Any]:
    row = dialog(2)
    row["events"][0] |= event
    return row


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([], "FILE:2: row: "),
        ({"id": 2}, "FILE:2: domains: Field required"),
        (dialog(2, surprise=1), "FILE:2: surprise: Extra inputs are not permitted"),
        (dialog(1), "FILE:2: id: 1 is line 1's already"),
        (changed(do="sing"), "FILE:2: events.0: Input tag 'sing'"),
        (changed(t="now"), "FILE:2: events.0.say.t: "),
        (changed(text=""), "FILE:2: events.0.say.text: "),
        (changed(who="robot"), "FILE:2: events.0.say.who: "),
    ],
)
def test_a_faulty_line_is_named_with_its_key(tmp_path: Path, row: Any, expected: str) -> None:
    assert fault(write(tmp_path / "star.jsonl", [dialog(1), row])).startswith(expected)


def test_what_is_no_json_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "star.jsonl"
    file.write_text(json.dumps(dialog(1)) + "\n\n{")
    assert fault(file).startswith("FILE:3: is not JSON: ")


def test_a_cut_off_archive_and_a_missing_or_empty_file_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "star.jsonl.gz", [dialog(n) for n in range(1, 60)]).read_bytes()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in fault(cut)
    assert "cannot be read" in fault(tmp_path / "missing.gz")
    assert fault(write(tmp_path / "empty.jsonl", [])) == "FILE: holds no dialogs"


def test_a_line_too_long_for_a_dialog_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(b" " * (star.LINE_LIMIT_BYTES + 1)))
    assert fault(file) == "FILE:1: is longer than 4 MiB"


@pytest.mark.skipif(not STAR_DIR, reason="SWITCHBOARD_STAR_DIR does not name STAR's folder")
def test_the_whole_of_star_is_read() -> None:
    dialogs = list(star.read(Path(str(STAR_DIR)) / "star.jsonl.gz"))
    replies = [reply for dialog in dialogs for reply in dialog.replies]
    assert len(dialogs) == 5967
    assert sum(reply.picked for reply in replies) == 41_903
    assert sum(not reply.picked for reply in replies) == 6_555
    assert sum(d.about(frozenset({"hotel"})) for d in dialogs) == 556
