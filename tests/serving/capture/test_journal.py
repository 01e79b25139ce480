import asyncio
import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.capture import Journal, segments
from serving.errors import InvalidRequest, JournalFull


def payloads(journal: Journal) -> list[bytes]:
    found = []
    for number in segments.segment_numbers(journal.folder):
        path = segments.segment_path(journal.folder, number)
        found += [frame.payload for frame in segments.read(path, 0, 10**6, sealed=True).frames]
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path, "a", segment_bytes=1000, limit_bytes=10_000)
    yield journal
    journal.close()


def test_what_is_appended_is_in_the_file_at_once(journal: Journal) -> None:
    journal.append(b"one")
    journal.append(b"two")
    assert payloads(journal) == [b"one", b"two"]
    assert journal.appended_bytes == journal.backlog_bytes == 22
    journal.drained(11)
    assert (journal.drained_bytes, journal.backlog_bytes) == (11, 11)


def test_a_full_segment_is_followed_by_the_next(journal: Journal) -> None:
    written = [bytes([number]) * 300 for number in range(10)]
    for payload in written:
        journal.append(payload)
    assert segments.segment_numbers(journal.folder) == [1, 2, 3]
    assert journal.segment == 3
    assert payloads(journal) == written


def test_at_its_limit_the_journal_refuses_and_goes_on_once_drained(journal: Journal) -> None:
    for _ in range(9):
        journal.append(b"x" * 1000)
    with pytest.raises(JournalFull, match="its limit is 10000"):
        journal.append(b"x" * 1000)
    assert len(payloads(journal)) == 9
    journal.drained(1008)
    journal.append(b"x" * 1000)


def test_an_empty_payload_is_refused(journal: Journal) -> None:
    with pytest.raises(InvalidRequest):
        journal.append(b"")


@pytest.mark.parametrize("writer", ["", "..", "a/b", "/a", "rejected", "a\n", ".a"])
def test_a_writer_cannot_name_another_folder(tmp_path: Path, writer: str) -> None:
    with pytest.raises(InvalidRequest):
        Journal(tmp_path, writer)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_in_use_gets_a_number(journal: Journal, tmp_path: Path) -> None:
    second = Journal(tmp_path, "a")
    assert second.folder == tmp_path / "a.1"
    second.close()


def test_a_journal_begins_after_what_a_dead_writer_left(tmp_path: Path) -> None:
    first = Journal(tmp_path, "a")
    first.append(b"left")
    first.close()
    second = Journal(tmp_path, "a")
    assert second.folder == first.folder
    assert (second.appended_bytes, second.segment) == (12, 2)
    second.append(b"new")
    assert payloads(second) == [b"left", b"new"]
    second.close()


def test_a_closed_journal_leaves_nothing_if_all_is_drained(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    journal.append(b"x")
    journal.drained(9)
    journal.close()
    journal.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="closed"):
        journal.append(b"x")


def test_a_full_disk_is_told_and_costs_no_other_frame(journal: Journal) -> None:
    journal.append(b"before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))  # a part of the frame still fits
    try:
        with pytest.raises(JournalFull, match=r"disk of .* is full"):
            journal.append(b"x" * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.appended_bytes == 14
    journal.append(b"after")
    assert payloads(journal) == [b"before", b"after"]


def test_half_a_frame_that_cannot_be_taken_back_ends_its_segment(
    journal: Journal, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    journal.append(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda descriptor, parts: os.write(descriptor, parts[0]))
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(JournalFull):
            journal.append(b"torn")
    journal.append(b"after")
    assert journal.appended_bytes == 14 + 8 + 13
    assert journal.segment == 2
    assert payloads(journal) == [b"before", b"after"]


def test_a_disk_that_fails_is_told_as_it_is(journal: Journal, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "writev", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        journal.append(b"x")


async def test_a_commit_waits_for_the_disk_and_shares_it(tmp_path: Path, monkeypatch) -> None:
    synced: list[int] = []
    fdatasync = os.fdatasync

    def counted(descriptor: int) -> None:
        fdatasync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", counted)
    journal = Journal(tmp_path, "a", fsync="commit")
    await journal.commit(b"x")
    assert synced[-1] == 9
    await asyncio.gather(*(journal.commit(b"x") for _ in range(100)))
    assert synced[-1] == 909
    assert len(synced) < 50
    journal.close()


async def test_a_commit_tells_that_the_disk_failed(tmp_path: Path, monkeypatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    journal = Journal(tmp_path, "a", fsync="commit")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            await journal.commit(b"x")
    await journal.commit(b"y")
    journal.close()


async def test_in_the_background_mode_a_commit_is_an_append(journal: Journal, monkeypatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    await journal.commit(b"x")
    assert synced == []
    await asyncio.sleep(0.2)
    assert len(synced) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 on
def test_a_forked_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    journal.append(b"parent")
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            journal.append(b"child")
        except OSError:
            os.write(tell_ready, b"x")
            os.read(go, 1)  # stays alive meanwhile
            os._exit(0)
        os._exit(1)
    assert os.read(ready, 1) == b"x"
    os.close(journal._lock)  # what the kernel does when the parent is killed
    lock = segments.own(journal.folder)
    os.write(tell_go, b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert lock is not None
    assert payloads(journal) == [b"parent"]
    journal._lock = lock
    journal.close()
    for descriptor in (ready, tell_ready, go, tell_go):
        os.close(descriptor)
