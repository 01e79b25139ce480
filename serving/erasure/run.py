"""An erasure from its first step to its last, by whoever asks: the command line or a replica.

It is cut short by a kill or an outage without harm: the steps may be repeated, and the next call
goes on. The store is first, because from then on nothing new enters; the files come next, while the
ids are still known; journals follow, and at last the store forgets the names and is written anew.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from serving.capture.redacting import person_number
from serving.capture.storing import PURPOSE
from serving.encryption.keyring import Keyring
from serving.encryption.sealing import Sealer
from serving.erasure import compacting, files, journals, uploads
from serving.files.storage import FileStorage
from serving.store.database import Database
from serving.store.erasure import erasures, rows
from serving.store.erasure.erasures import Erasure, Target

POLL_S = 0.2


def target(kind: str, name: str, lob: str | None, keyring: Keyring | None) -> Target:
    """Return what to erase; of a person with the numbers that redacted rows have for the name."""
    if kind != "person" or keyring is None:
        return Target(kind=kind, name=name, lob=lob)
    numbers = (person_number(name, keyring.derived(id_, PURPOSE)) for id_ in keyring.keys)
    return Target(kind=kind, name=name, lob=lob, aliases=tuple(numbers))


async def erase(
    db: Database,
    what: Target,
    *,
    reason: str,
    key_id: str | None,
    journal_dir: Path,
    keyring: Keyring | None,
    storage: FileStorage,
    wait_s: float = 30.0,
) -> tuple[Erasure, list[str]]:
    """Erase a conversation or a person, or go on with that.

    Args:
        db: The store.
        what: What to erase.
        reason: Why; it is kept.
        key_id: Whoever asks; None is the command line.
        journal_dir: The folder of this machine's journals.
        keyring: The deployment's keys, which open sealed journals.
        storage: Where uploaded files lie.
        wait_s: Longest wait for the replicas' journals.

    Returns:
        How far it has come, and what it still waits for: journals, datasets that lie on
        another machine, or batches that still read what is erased. Nothing, once it is done.
    """
    erasure = await erasures.begin(db, what, reason=reason, key_id=key_id)
    return await go_on(
        db, erasure, journal_dir=journal_dir, keyring=keyring, storage=storage, wait_s=wait_s
    )


async def go_on(
    db: Database,
    erasure: Erasure,
    *,
    journal_dir: Path,
    keyring: Keyring | None,
    storage: FileStorage,
    wait_s: float = 30.0,
) -> tuple[Erasure, list[str]]:
    """Go on with an erasure from where it is; returns as `erase`."""
    steps = _Steps(db, erasure, journal_dir, keyring, storage, wait_s)
    for state in erasures.STATES[:-1]:
        if erasures.STATES.index(state) < erasures.STATES.index(erasure.state):
            continue
        waiting = await getattr(steps, state)()
        if waiting:
            return await erasures.get(db, erasure.id), list(waiting)
    return await erasures.get(db, erasure.id), []


class _Steps:
    """The steps, named as the states that they end; each returns what it still waits for."""

    def __init__(
        self,
        db: Database,
        erasure: Erasure,
        journal_dir: Path,
        keyring: Keyring | None,
        storage: FileStorage,
        wait_s: float,
    ) -> None:
        self._db = db
        self._erasure = erasure
        self._journal_dir = journal_dir
        self._unseal = Sealer(keyring, "journal").open
        self._storage = storage
        self._wait_s = wait_s

    async def collecting(self) -> Sequence[str]:
        """Note the interactions until there are no more: a tombstone stops those to come."""
        while await rows.collect(self._db, self._erasure):
            pass
        await erasures.move(self._db, self._erasure.id, "deleting")
        return ()

    async def deleting(self) -> Sequence[str]:
        """Take the rows out of the store."""
        await rows.collect(self._db, self._erasure)
        of = await rows.items(self._db, self._erasure.id)
        counts = await rows.delete_rows(self._db, of)
        await erasures.move(self._db, self._erasure.id, "files", counts)
        return ()

    async def files(self) -> Sequence[str]:
        """Take them out of datasets, reports, uploaded files and what batches wrote."""
        of = await rows.items(self._db, self._erasure.id)
        what = Target.model_validate(self._erasure.target)
        counts, away = await files.erase(self._db, what, of)
        lines, reading = await uploads.erase(self._db, self._storage, what, of)
        counts, away = counts | lines, [*away, *reading]
        state = "files" if away else "journals"
        await erasures.move(self._db, self._erasure.id, state, counts)
        return away

    async def journals(self) -> Sequence[str]:
        """Clean the journals that nobody holds, and wait for the replicas to clean theirs."""
        gone = await journals.scrub(self._db, self._journal_dir, self._unseal)
        deadline = time.monotonic() + self._wait_s
        while True:
            since = time.time() - journals.SILENT_S
            behind = await erasures.behind(self._db, self._erasure.id, since)
            if not behind or time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        # again: a replica that ended meanwhile has left its journal to nobody
        gone += await journals.scrub(self._db, self._journal_dir, self._unseal)
        state = "journals" if behind else "compacting"
        await erasures.move(self._db, self._erasure.id, state, {"journalled": gone})
        return behind

    async def compacting(self) -> Sequence[str]:
        """Have the database's own files forget."""
        await compacting.compact(self._db)
        await erasures.move(self._db, self._erasure.id, "done")
        return ()
