"""A classifier is live once it is whole, and is read only as it was published."""

from pathlib import Path

import pytest

from serving.errors import ConfigError, Unavailable
from serving.intents import published
from tests.serving.intents.test_classifier import MADE


def publish(root: object) -> published.Published:
    return published.publish(
        str(root), "care", MADE, intents=("late", "refund"), prefers="classical", report={"n": 1}
    )


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_what_is_published_is_found_and_read(tmp_path: Path, scheme: str) -> None:
    root = f"{scheme}{tmp_path}"
    assert published.live(root, "care") is None
    made = publish(root)
    found = published.live(root, "care")
    assert found == made
    again = published.read(root, "care", made)
    assert again.guess(["parcel"]) == MADE.guess(["parcel"])
    assert published.live(root, "sales") is None


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    made = publish(tmp_path)
    (file,) = (tmp_path / "care" / "intents").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(ConfigError, match="is not the one that was published"):
        published.read(str(tmp_path), "care", made)


def test_what_says_which_is_live_must_be_understood(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "care" / "intents" / "live.json").write_text('{"sha256": "../../secret"}')
    with pytest.raises(ConfigError, match=r"live\.json of the intents of care"):
        published.live(str(tmp_path), "care")


def test_no_other_name_than_a_line_s_becomes_part_of_a_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no name for a line"):
        published.live(str(tmp_path), "../care")


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "care").write_text("a file")
    with pytest.raises(Unavailable):
        publish(tmp_path)
