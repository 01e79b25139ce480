"""A journal under a key: nothing in clear, nothing lost where the key is not there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from serving.capture import Drainer, Journal
from serving.capture import drainer as drainer_module
from serving.encryption import keyring
from serving.encryption.keyring import Keyring
from serving.encryption.sealing import Sealer
from serving.errors import StoreUnavailable

SECRET = b'{"text": "4111 1111 1111 1111"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drainer_module, "ADOPT_INTERVAL_S", 0.05)
    monkeypatch.setattr(drainer_module, "BACKOFF_S", (0.01, 0.05))


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(keyring.parse(keyring.new_line("a")), "journal")


@asynccontextmanager
async def draining(drainer: Drainer) -> AsyncIterator[None]:
    task = asyncio.create_task(drainer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Sink:
    def __init__(self, error: Exception | None = None) -> None:
        self.payloads: list[bytes] = []
        self.error = error

    async def __call__(self, payloads: list[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.payloads += payloads


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_payloads_are_sealed_on_the_disk_and_plain_in_the_sink(
    tmp_path: Path, sealer: Sealer
) -> None:
    journal, sink = Journal(tmp_path, "a", seal=sealer.seal), Sink()
    for _ in range(100):
        journal.append(SECRET)
    assert b"4111" not in on_disk(tmp_path)
    assert len(on_disk(tmp_path)) > 100 * len(SECRET)
    drainer = Drainer(tmp_path, journal, sink, unseal=sealer.open)
    async with draining(drainer):
        await drainer.flush(10)
    assert sink.payloads == [SECRET] * 100
    journal.close()


async def test_segments_from_before_encryption_are_read(tmp_path: Path, sealer: Sealer) -> None:
    old = Journal(tmp_path, "a")
    old.append(SECRET)
    old.close()
    journal, sink = Journal(tmp_path, "a", seal=sealer.seal), Sink()
    journal.append(b'{"new": 1}')
    drainer = Drainer(tmp_path, journal, sink, unseal=sealer.open)
    async with draining(drainer):
        await drainer.flush(10)
    assert sink.payloads == [SECRET, b'{"new": 1}']
    journal.close()


@pytest.mark.parametrize("wrong", [None, keyring.parse(keyring.new_line("a"))])
async def test_without_the_key_everything_stays_and_says_why(
    tmp_path: Path, sealer: Sealer, wrong: Keyring | None
) -> None:
    dead = Journal(tmp_path, "a", seal=sealer.seal)
    dead.append(SECRET)
    dead.close()
    journal, sink = Journal(tmp_path, "a"), Sink()
    drainer = Drainer(tmp_path, journal, sink, unseal=Sealer(wrong, "journal").open)
    async with draining(drainer):
        with pytest.raises(StoreUnavailable, match=r"storage\.keys"):
            await drainer.flush(0.2)
        assert drainer.alarm.since is not None
        assert "'a'" in (drainer.last_error or "")
    assert sink.payloads == []
    mended = Drainer(tmp_path, journal, sink, unseal=sealer.open)
    async with draining(mended):
        await mended.flush(10)
    assert sink.payloads == [SECRET]
    journal.close()


async def test_what_is_set_aside_is_sealed_and_drains_once_mended(
    tmp_path: Path, sealer: Sealer
) -> None:
    journal = Journal(tmp_path, "a", seal=sealer.seal)
    journal.append(SECRET)
    drainer = Drainer(tmp_path, journal, Sink(ValueError("no record")), unseal=sealer.open)
    async with draining(drainer):
        await drainer.flush(10)
    assert b"4111" not in on_disk(tmp_path)
    aside = next(iter((tmp_path / "rejected").iterdir()))
    aside.rename(tmp_path / "again")
    sink = Sink()
    mended = Drainer(tmp_path, journal, sink, unseal=sealer.open)
    async with draining(mended), asyncio.timeout(30):
        while not sink.payloads:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert sink.payloads == [SECRET]
    journal.close()


@pytest.mark.parametrize("cut", [1, 17, 40])
async def test_a_torn_frame_is_dropped_and_those_before_it_are_stored(
    tmp_path: Path, sealer: Sealer, cut: int
) -> None:
    dead = Journal(tmp_path, "dead", seal=sealer.seal)
    dead.append(SECRET)
    dead.append(SECRET)
    dead.close()
    (segment,) = sorted((tmp_path / "dead").glob("*.log"))
    segment.write_bytes(segment.read_bytes()[:-cut])
    journal, sink = Journal(tmp_path, "a"), Sink()
    async with (
        draining(Drainer(tmp_path, journal, sink, unseal=sealer.open)),
        asyncio.timeout(30),
    ):
        while (tmp_path / "dead").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert sink.payloads == [SECRET]
    journal.close()
