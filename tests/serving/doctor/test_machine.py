from pathlib import Path

import pytest

from serving.doctor import machine
from serving.doctor.finding import State


def test_versions_name_what_is_installed() -> None:
    found = machine.versions()
    assert found.state == State.OK
    assert {"python", "switchboard", "ray", "torch"} <= found.facts.keys()


def test_the_machine_is_told_in_numbers() -> None:
    facts = machine.machine().facts
    assert facts["cores"] >= 1
    assert 0 < facts["free_bytes"] <= facts["memory_bytes"]


def test_a_folder_that_is_not_there_is_measured_where_it_would_be(tmp_path: Path) -> None:
    found = machine.disks({"journal.dir": tmp_path / "a" / "b"})
    assert found.facts["journal.dir"]["total_bytes"] > 0


def test_a_full_disk_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE_SHARE", 1.0)
    found = machine.disks({"journal.dir": tmp_path})
    assert found.state == State.WARNING
    assert "journal.dir" in found.said


def test_what_logs_say_of_faults_is_listed_once_and_without_keys(tmp_path: Path) -> None:
    (tmp_path / "worker-1.err").write_text(
        "INFO all is well\n"
        "ALARM: the store does not answer: postgresql://me:secret@db/x\n"
        "ALARM: the store does not answer: postgresql://me:secret@db/x\n"
        "ValueError: of a trace\n"
        "WARNING a key sb-0123456789abcdef was refused\n"
    )
    found = machine.logs(tmp_path)
    assert found.state == State.WARNING
    assert found.facts["last"] == [
        "ALARM: the store does not answer: postgresql://***@db/x",
        "ValueError: of a trace",
    ]
    assert "sb-0123" not in "".join(machine.tail(tmp_path / "worker-1.err"))


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "worker-1.err").write_text("ALARM: long ago\n" + "INFO\n" * 200_000)
    assert machine.logs(tmp_path).state == State.OK


def test_a_machine_without_a_server_has_no_log(tmp_path: Path) -> None:
    assert machine.logs(tmp_path / "none").state == State.OK
