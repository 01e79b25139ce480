import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from serving.capture import Drainer, Journal, segments
from serving.capture import drainer as drainer_module
from serving.errors import JournalFull, StoreUnavailable
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import InteractionRecord
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drainer_module, "ADOPT_INTERVAL_S", 0.05)
    monkeypatch.setattr(drainer_module, "BACKOFF_S", (0.01, 0.05))


class Sink:
    """A store of payloads that ignores what it has, and can be made to fail."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.error: Exception | None = None
        self.poison: bytes | None = None
        self.calls = 0

    async def __call__(self, payloads: list[bytes]) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.poison in payloads:
            raise ValueError(f"{self.poison!r} is no record")
        self.payloads += [payload for payload in payloads if payload not in self.payloads]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@asynccontextmanager
async def draining(drainer: Drainer) -> AsyncIterator[None]:
    task = asyncio.create_task(drainer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def folders(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_everything_reaches_the_sink_in_order(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "a", segment_bytes=200)
    written = [f"payload {number:03}".encode() for number in range(100)]
    drainer = Drainer(tmp_path, journal, sink, batch=7)
    async with draining(drainer):
        for payload in written:
            journal.append(payload)
            await asyncio.sleep(0)
        await drainer.flush(10)
        assert sink.payloads == written
        assert drainer.backlog_bytes == 0
        assert drainer.last_error is None
        await until(lambda: segments.segment_numbers(journal.folder) == [journal.segment])
    journal.close()
    assert folders(tmp_path) == set()


async def test_flush_tells_what_is_in_the_way(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink)
    journal.append(b"x")
    sink.error = StoreUnavailable("the store is down")
    async with draining(drainer):
        with pytest.raises(StoreUnavailable, match=r"9 bytes .* the store is down"):
            await drainer.flush(0.1)
        sink.error = None
        await drainer.flush(10)
    journal.close()


async def test_flush_is_quick_even_where_draining_is_rare(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink, wait_s=600)
    async with draining(drainer):
        await asyncio.sleep(0.05)
        journal.append(b"x")
        await drainer.flush(10)
        assert sink.payloads == [b"x"]
    journal.close()


async def test_payloads_wait_for_a_batch_and_are_stored_in_one_call(
    tmp_path: Path, sink: Sink
) -> None:
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink, batch=64, wait_s=600)
    written = [f"payload {number:03}".encode() for number in range(64)]
    async with draining(drainer):
        for payload in written[:-1]:
            journal.append(payload)
        await work_done_beside(tmp_path, sink, b"of the dead")
        assert sink.payloads == [b"of the dead"], "63 still wait"
        assert not drainer.overdue, "as they are meant to"
        calls = sink.calls
        journal.append(written[-1])
        await until(lambda: drainer.backlog_bytes == 0)
        assert sink.payloads[1:] == written
        assert sink.calls == calls + 1
        journal.append(b"the next batch")
        await work_done_beside(tmp_path, sink, b"of another")
        assert b"the next batch" not in sink.payloads
    journal.close()


async def work_done_beside(directory: Path, sink: Sink, payload: bytes) -> None:
    """Wait until the drainer has looked at everything and moved a dead writer's payload."""
    dead = Journal(directory, "dead")
    dead.append(payload)
    dead.close()
    await until(lambda: payload in sink.payloads and not (directory / "dead").exists())


async def test_the_first_of_a_few_payloads_waits_no_longer_than_it_may(
    tmp_path: Path, sink: Sink
) -> None:
    journal = Journal(tmp_path, "a")
    async with draining(Drainer(tmp_path, journal, sink, wait_s=0.05)):
        for payload in (b"x", b"y"):
            journal.append(payload)
            await until(lambda payload=payload: payload in sink.payloads)
    journal.close()


async def test_a_journal_that_grows_is_drained_before_a_batch_is_full(
    tmp_path: Path, sink: Sink
) -> None:
    journal = Journal(tmp_path, "a", limit_bytes=1000)
    async with draining(Drainer(tmp_path, journal, sink, wait_s=600)):
        for number in range(3):
            journal.append(b"%d" % number * 400)
            journal.append(b"x%d" % number * 100)
            await until(lambda: journal.backlog_bytes == 0)
    journal.close()


async def test_whoever_asks_has_what_waits_stored_at_once(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink, wait_s=600)
    async with draining(drainer):
        for payload in (b"x", b"y"):
            journal.append(payload)
            drainer.wake()
            assert drainer.overdue
            await until(lambda payload=payload: payload in sink.payloads)
            await until(lambda: not drainer.overdue)
    journal.close()


async def test_a_store_that_is_down_is_not_tried_for_each_new_payload(
    tmp_path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainer_module, "BACKOFF_S", (600, 600))
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink, batch=4)
    sink.error = StoreUnavailable("down")
    async with draining(drainer):
        for number in range(4):
            journal.append(b"first %d" % number)
        await until(lambda: drainer.alarm.since is not None)
        for number in range(100):
            journal.append(b"%d" % number)
            drainer.wake()
            await asyncio.sleep(0.001)
        assert sink.calls <= 2, "one more if a payload came while the first attempt was failing"
        sink.error = None
        await drainer.flush(10)
        assert len(sink.payloads) == 104
    journal.close()


@pytest.mark.parametrize("error", [StoreUnavailable("down"), ConnectionResetError("reset")])
async def test_an_outage_keeps_everything_and_then_drains_in_order(
    tmp_path: Path, sink: Sink, error: Exception
) -> None:
    journal = Journal(tmp_path, "a", segment_bytes=100)
    drainer = Drainer(tmp_path, journal, sink, wait_s=0.01, batch=3)
    sink.error = error
    written = [f"payload {number}".encode() for number in range(50)]
    async with draining(drainer):
        for payload in written:
            journal.append(payload)
            await asyncio.sleep(0.002)
        await until(lambda: sink.calls > 2)
        assert drainer.last_error == str(error)
        assert drainer.backlog_bytes == journal.appended_bytes
        assert drainer.backlog_frames == len(written)
        sink.error = None
        await drainer.flush(10)
        assert sink.payloads == written
        assert drainer.last_error is None
        assert drainer.backlog_frames == 0
    journal.close()


async def test_a_full_journal_has_room_again_after_the_outage(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "a", limit_bytes=100)  # less than a segment
    drainer = Drainer(tmp_path, journal, sink)
    sink.error = StoreUnavailable("down")
    async with draining(drainer):
        journal.append(b"x" * 90)
        with pytest.raises(JournalFull):
            journal.append(b"y" * 90)
        sink.error = None
        await drainer.flush(10)
        journal.append(b"y" * 90)
        await drainer.flush(10)
    assert len(sink.payloads) == 2
    journal.close()


async def test_a_poison_payload_is_set_aside_and_can_be_drained_later(
    tmp_path: Path, sink: Sink
) -> None:
    journal = Journal(tmp_path, "a")
    drainer = Drainer(tmp_path, journal, sink)
    sink.poison = b"payload 5"
    written = [f"payload {number}".encode() for number in range(10)]
    for payload in written:
        journal.append(payload)
    async with draining(drainer):
        await drainer.flush(10)
        assert sink.payloads == [payload for payload in written if payload != sink.poison]
        (rejected,) = (tmp_path / "rejected").iterdir()
        assert rejected.name == "a-00000001-85"
        assert "ValueError: b'payload 5' is no record" in (rejected / "reason.txt").read_text()
        sink.poison = None
        (tmp_path / "again").mkdir()
        os.rename(rejected / "00000001.log", tmp_path / "again" / "00000001.log")
        await until(lambda: b"payload 5" in sink.payloads)
        await until(lambda: not (tmp_path / "again").exists())
    journal.close()
    assert folders(tmp_path) == {"rejected"}


async def test_what_a_dead_writer_left_is_taken_over(tmp_path: Path, sink: Sink) -> None:
    for name in ("dead", "torn"):
        journal = Journal(tmp_path, name)
        journal.append(f"left by {name}".encode())
        journal.close()
    with (tmp_path / "torn" / "00000001.log").open("ab") as file:
        file.write(segments.header(b"never written whole") + b"never")
    living = Journal(tmp_path, "living")
    own = Journal(tmp_path, "own")
    living.append(b"of the living")
    drainer = Drainer(tmp_path, own, sink)
    async with draining(drainer):
        await until(lambda: folders(tmp_path) == {"living", "own"})
        assert sorted(sink.payloads) == [b"left by dead", b"left by torn"]
        assert drainer.backlog_bytes == 0
    own.close()
    living.close()


async def test_two_drainers_share_the_dead(tmp_path: Path, sink: Sink) -> None:
    for number in range(10):
        journal = Journal(tmp_path, f"dead-{number}")
        journal.append(f"{number}".encode())
        journal.close()
    journals = [Journal(tmp_path, name) for name in ("a", "b")]
    drainers = [Drainer(tmp_path, journal, sink) for journal in journals]
    async with draining(drainers[0]), draining(drainers[1]):
        await until(lambda: folders(tmp_path) == {"a", "b"})
    assert sorted(sink.payloads) == [f"{number}".encode() for number in range(10)]
    for journal in journals:
        journal.close()


async def test_a_cancelled_drainer_lets_go_of_the_dead(tmp_path: Path, sink: Sink) -> None:
    journal = Journal(tmp_path, "dead")
    journal.append(b"x")
    journal.close()
    own = Journal(tmp_path, "own")
    sink.error = StoreUnavailable("down")
    drainer = Drainer(tmp_path, own, sink)
    async with draining(drainer):
        await until(lambda: drainer.last_error is not None)
        assert (drainer.backlog_bytes, drainer.backlog_frames) == (9, 1)
        assert segments.own(tmp_path / "dead") is None
    lock = segments.own(tmp_path / "dead")
    assert lock is not None
    segments.disown(tmp_path / "dead", lock)
    own.close()


APPENDER = """if True:
    import sys
    from serving.capture import Journal
    from serving.store.records import InteractionRecord

    directory, template = sys.argv[1:]
    template = InteractionRecord.model_validate_json(template)
    journal = Journal(directory, "killed", segment_bytes=1 << 18)
    for number in range(10 ** 9):
        record = template.model_copy(update={"id": f"chatcmpl-{number:06}"})
        journal.append(record.model_dump_json().encode())
        print(number, flush=True)
"""


def kill_once(command: list[str], after: int) -> int:
    """Kill the appender once it has told of `after`; return the last that it told of."""
    acknowledged = -1
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged == after:
                process.kill()  # it goes on appending until this reaches it
    assert process.returncode == -signal.SIGKILL
    assert acknowledged >= after
    return acknowledged


@pytest.mark.parametrize("after", [1, 137, 2500])
async def test_kill_9_loses_nothing_whose_append_had_returned(
    tmp_path: Path, sqlite_db: Database, interaction, after: int
) -> None:
    template = interaction(output="x" * 3000)
    command = [sys.executable, "-c", APPENDER, str(tmp_path / "j"), template.model_dump_json()]
    acknowledged = await asyncio.to_thread(kill_once, command, after)
    journal = Journal(tmp_path / "j", "survivor")
    drainer = Drainer(tmp_path / "j", journal, store(sqlite_db))
    async with draining(drainer):
        await until(lambda: folders(tmp_path / "j") == {"survivor"})
    journal.close()
    count = await interactions.count(sqlite_db)
    assert acknowledged + 1 <= count <= acknowledged + 2  # one may have been written, not printed
    assert await interactions.get(sqlite_db, f"chatcmpl-{acknowledged:06}") is not None


def store(db: Database):
    async def save(payloads: list[bytes]) -> None:
        records = [InteractionRecord.model_validate_json(payload) for payload in payloads]
        await interactions.save(db, records)

    return save


DRAINER = """if True:
    import asyncio, os, signal, sys
    from serving.capture import Drainer, Journal
    from serving.store import interactions
    from serving.store.database import Database
    from serving.store.records import InteractionRecord

    async def main(directory, url, payload):
        db = Database(url)
        journal = Journal(directory, "killed", segment_bytes=4000)
        template = InteractionRecord.model_validate_json(payload)
        for number in range(100):
            record = template.model_copy(update={"id": f"chatcmpl-{number:06}"})
            journal.append(record.model_dump_json().encode())
        batches = 0

        async def sink(payloads):
            nonlocal batches
            records = [InteractionRecord.model_validate_json(payload) for payload in payloads]
            await interactions.save(db, records)
            batches += 1
            if batches == 5:
                os.kill(os.getpid(), signal.SIGKILL)

        await Drainer(directory, journal, sink, batch=10).run()

    asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_drainer_killed_between_commit_and_delete_stores_each_once(
    tmp_path: Path, db: Database, store_url: str, interaction
) -> None:
    payload = interaction().model_dump_json()
    command = [sys.executable, "-c", DRAINER, str(tmp_path / "j"), store_url, payload]
    process = await asyncio.to_thread(subprocess.run, command, check=False)
    assert process.returncode == -signal.SIGKILL
    before = await interactions.count(db)
    assert 0 < before < 100
    journal = Journal(tmp_path / "j", "survivor")
    drainer = Drainer(tmp_path / "j", journal, store(db))
    async with draining(drainer):
        await until(lambda: folders(tmp_path / "j") == {"survivor"})
    journal.close()
    assert await interactions.count(db) == 100


async def test_files_are_read_beside_the_event_loop(
    tmp_path: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = set()
    read = segments.read

    def noted(*args, **kwargs) -> segments.Read:
        readers.add(threading.current_thread())
        return read(*args, **kwargs)

    monkeypatch.setattr(segments, "read", noted)
    journal = Journal(tmp_path, "a")
    for number in range(100):
        journal.append(f"{number:03}".encode() * 10_000)
    drainer = Drainer(tmp_path, journal, sink)
    async with draining(drainer):
        await drainer.flush(10)
    assert len(sink.payloads) == 100
    assert readers
    assert threading.main_thread() not in readers
    journal.close()
