from pathlib import Path

import pytest

from training.data.examples import Example, Message
from training.data.streaming.example_lines import ExampleFile, Picked, Spool, encoded, lines, row
from training.errors import DatasetError


def one(number: int) -> Example:
    said = Message("system", "be kind"), Message("user", f"é {number}\n")
    return Example(f"i{number}", "c", 1.5, "chat", 2, None, "edit", said, "shown", f"t{number}")


GIVEN = [one(number) for number in range(20)]


def test_what_is_spooled_reads_back_in_any_order_while_more_is_written(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for example in GIVEN[:10]:
            spool.append(encoded(example))
        assert spool[7] == GIVEN[7]
        for example in GIVEN[10:]:
            spool.append(encoded(example))
        assert list(spool) == GIVEN
        assert (spool[-1], spool[3:5]) == (GIVEN[-1], tuple(GIVEN[3:5]))
        assert Picked(spool, [5, 2]) == [GIVEN[5], GIVEN[2]]
        with pytest.raises(IndexError):
            spool[20]
        assert list(tmp_path.iterdir()) == []


def test_a_file_is_a_sequence_of_its_examples(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(lines(map(row, GIVEN)))
    found = ExampleFile(file, 20)
    assert list(found) == GIVEN
    assert found == tuple(GIVEN)
    assert found != GIVEN[:19]
    assert (found[4], found[-2:]) == (GIVEN[4], tuple(GIVEN[-2:]))
    file.unlink()
    with pytest.raises(DatasetError, match=r"train\.jsonl: cannot be read"):
        list(found)
