import pytest

from training.data.validation_split import split
from training.errors import TooLittleData


def rows(count: int) -> list[dict[str, object]]:
    return [{"conversation_id": f"c{n}", "turn": turn} for n in range(count) for turn in range(2)]


def ids(part: list[dict[str, object]]) -> set[object]:
    return {row["conversation_id"] for row in part}


def test_a_conversation_is_on_one_side_whole() -> None:
    learned, watched = split(rows(200), 0.2)
    assert not ids(learned) & ids(watched)
    assert len(learned) + len(watched) == 400
    assert 20 <= len(ids(watched)) <= 60


def test_a_conversation_keeps_its_side_whatever_else_there_is() -> None:
    few, many = (ids(split(rows(count), 0.2)[1]) for count in (50, 300))
    assert few == {f"c{n}" for n in range(50)} & many


def test_no_share_keeps_nothing_back() -> None:
    assert split(rows(3), 0) == (rows(3), [])


def test_a_share_that_leaves_one_side_empty_is_refused() -> None:
    with pytest.raises(TooLittleData, match=r"leaves 2 rows to learn from and 0 to look at, of 2"):
        split([{"conversation_id": "c0"}, {"conversation_id": "c1"}], 1e-9)
