from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.execution import transfer
from training.trainers.job import Job

NAMES = st.text("abc", min_size=1, max_size=3)


def job(**changed: str) -> Job:
    return Job(
        **{
            "lob": "care",
            "base_model": "base",
            "base_hash": "h",
            "dataset_id": "d",
            "train_file": "none",
            "out": "out",
            "recipe": {"lora": {"rank": 4}},
        }
        | changed  # type: ignore[arg-type]
    )


@given(st.dictionaries(st.tuples(NAMES, NAMES).map("/".join), st.binary(max_size=20)))
def test_a_folder_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    there = tmp_path_factory.mktemp("there")
    there.chmod(0o700)
    assert transfer.pack(transfer.unpack(files, there)) == files


def test_a_file_comes_out_as_it_went_in(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0 1")
    there = transfer.unpack(transfer.pack(tmp_path / "a"), tmp_path / "folder" / "b")
    assert there.read_bytes() == b"\0 1"


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        transfer.unpack({name: b""}, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_job_s_inputs_are_the_files_it_names_but_neither_base_nor_output(tmp_path: Path) -> None:
    for name in ("train.jsonl", "base", "out"):
        (tmp_path / name).write_text(name)
    here = job(
        train_file=str(tmp_path / "train.jsonl"),
        base_model=str(tmp_path / "base"),
        out=str(tmp_path / "out"),
    )
    assert transfer.inputs(here) == {"train_file": {"": b"train.jsonl"}}
    assert transfer.inputs(job()) == {}


def test_a_relative_name_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "care").write_text("a file that has the name of the line")
    monkeypatch.chdir(tmp_path)
    assert transfer.inputs(job()) == {}


def test_a_name_says_what_goes_in_and_not_where_from_or_to() -> None:
    def name(content: bytes, **changed: str) -> str:
        return transfer.name(asdict(job(**changed)), {"train_file": {"": content}})

    assert name(b"1", train_file="a", out="x") == name(b"1", train_file="b", out="y")
    assert name(b"1").startswith("care-")
    assert len({name(b"1"), name(b"2"), name(b"1", base_hash="g"), name(b"1", lob="sales")}) == 4
