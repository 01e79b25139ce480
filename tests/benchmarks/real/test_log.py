import os
from pathlib import Path

import pytest
from log import Work, by_position

from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star

STAR_DIR = os.environ.get("SWITCHBOARD_STAR_DIR")  # read before the environment is cleared


def test_shares_and_times_are_told_by_position(tmp_path: Path) -> None:
    found = by_position(star.read(write(tmp_path / "s.jsonl", [dialog(1), dialog(2)])))
    assert found == {"first": Work(2, 1.0, 12.0, None), "last": Work(2, 0.0, None, 30.0)}


@pytest.mark.skipif(not STAR_DIR, reason="SWITCHBOARD_STAR_DIR does not name STAR's folder")
def test_stars_agents_pick_most_replies_and_sooner_than_they_type() -> None:
    found = by_position(star.read(Path(str(STAR_DIR)) / "star.jsonl.gz"))
    told = {name: (round(w.picked, 2), w.picked_s, w.typed_s) for name, w in found.items()}
    assert told == {
        "first": (0.91, 18, 38),
        "middle": (0.86, 20, 39),
        "last": (0.87, 12, 26),
    }
