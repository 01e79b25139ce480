import json
from pathlib import Path
from typing import Any

import pytest
from replay import events, in_order

from serving.api.events import EventsBody
from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star
from training.data.formats.star import StarDialog


@pytest.fixture
def dialogs(tmp_path: Path) -> list[StarDialog]:
    later = dialog(2)
    for event in later["events"]:  # begins in the middle of the first
        event["t"] = event["t"] and event["t"] - 1000 + 30
    return list(star.read(write(tmp_path / "s.jsonl", [dialog(1), later])))


def kinds(batch: list[dict[str, Any]]) -> list[str]:
    EventsBody.model_validate(json.loads(json.dumps({"events": batch})))
    return [event["type"] for event in batch]


def test_replies_of_dialogs_side_by_side_come_in_the_order_of_the_clock(
    dialogs: list[StarDialog],
) -> None:
    assert [(d.id, r.turn) for d, r in in_order(dialogs)] == [(1, 2), (2, 2), (1, 4), (2, 4)]


def test_a_suggestion_that_spares_keystrokes_is_inserted_mended_and_sent(
    dialogs: list[StarDialog],
) -> None:
    reply = dialogs[0].replies[0]
    assert kinds(events("r", "Room 1 is free.", reply)) == ["displayed", "inserted", "sent"]
    batch = events("r", "Room 9 is free.", reply)
    assert kinds(batch) == ["displayed", "inserted", "edited", "sent"]
    assert [event["at"] - reply.at for event in batch] == [-3, 0, 0, 0]
    assert batch[-1]["text"] == "Room 1 is free."
    assert len({event["event_id"] for event in batch}) == 4


def test_another_is_left_and_the_reply_typed_with_its_draft(dialogs: list[StarDialog]) -> None:
    drafted, undrafted = dialogs[0].replies
    batch = events("r", "Quite another thing altogether", drafted)
    assert kinds(batch) == ["displayed", "typed"]
    assert (batch[1]["text"], batch[1]["draft"]) == ("Room 1 is free.", "free")
    assert "draft" not in events("r", "", undrafted)[1]
