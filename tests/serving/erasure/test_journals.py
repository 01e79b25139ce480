"""Erasure in journals that nobody holds, and in what the store once refused."""

from pathlib import Path

from serving.capture import Journal, rejected, segments
from serving.encryption import keyring
from serving.encryption.sealing import Sealer
from serving.erasure import journals
from serving.store.database import Database
from serving.store.erasure import tombstones
from tests.serving.erasure.talk import SEED, holding, payload


async def buried(db: Database) -> None:
    async with db.session() as connection:
        await tombstones.add(db, connection, [("conversation", None, "c-1")])


async def test_a_dead_journal_keeps_what_is_not_erased(sqlite_db: Database, tmp_path: Path) -> None:
    await buried(sqlite_db)
    folder = tmp_path / "journal"
    journal = Journal(folder, "dead")
    kept = payload("kept", "c-2", "fine")
    for one in (payload("gone", "c-1", SEED), kept):
        journal.append(one)
    journal.close()
    assert await journals.scrub(sqlite_db, folder, Sealer(None, "journal").open) == 1
    path = segments.segment_path(folder / "dead", 1)
    assert [f.payload for f in segments.read(path, 0, 9, sealed=True).frames] == [kept]
    assert holding(folder) == []


async def test_what_a_living_process_holds_is_left_to_it(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await buried(sqlite_db)
    journal = Journal(tmp_path / "journal", "alive")
    journal.append(payload("gone", "c-1", SEED))
    assert await journals.scrub(sqlite_db, tmp_path / "journal", Sealer(None, "journal").open) == 0
    assert journal.backlog_frames == 1
    journal.close()


async def test_sealed_and_rejected_payloads_are_opened_to_know_whose_they_are(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await buried(sqlite_db)
    sealer = Sealer(keyring.parse(keyring.new_line("k")), "journal")
    segment = tmp_path / "journal" / "a" / "00000001.log"
    for offset, talk in enumerate(("c-1", "c-2")):
        frame = segments.Frame(sealer.seal(payload(talk, talk, SEED)), offset)
        rejected.set_aside(segment, frame, ValueError("no"))
    strange = segments.Frame(b"not an interaction", 9)
    rejected.set_aside(segment, strange, ValueError("no"))
    assert await journals.scrub(sqlite_db, tmp_path / "journal", sealer.open) == 1
    left = sorted(path.name for path in (tmp_path / "journal" / "rejected").iterdir())
    assert left == ["a-00000001-1", "a-00000001-9"]
