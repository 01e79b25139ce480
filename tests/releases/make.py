"""Make this release's fixture: ``python -m tests.releases.make`` once a release, before its tag.

A deployment with something in every table, a live adapter, a file and two journals that wait (in
clear, sealed) is filled through the release's own code and backed up with `switchboard backup`,
once over SQLite and once over PostgreSQL: ``tests/releases/RELEASE-KIND.tar.gz``. What is made here
is never made again: later releases must read it as it is.
"""

import asyncio
import json
import tarfile
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from serving import auth
from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.backup import take
from serving.capture import Drainer, Journal
from serving.capture.storing import Storing
from serving.config import settings as settings_module
from serving.config.settings import Settings
from serving.encryption import keyring
from serving.encryption.sealing import Sealer
from serving.erasure import run as erasure
from serving.files.storage import FileStorage
from serving.store import cycles, datasets, events, feedback, leases, routes, shadows
from serving.store.database import Database
from serving.store.events import EventRecord, Kind
from serving.store.files import batches
from serving.store.files.records import new_id, scope_of
from serving.store.records import Action, DatasetRecord, FeedbackRecord
from serving.store.reviews import queue
from serving.store.reviews.records import Decision, NewReview
from serving.store.shadows import ShadowRecord
from tests.postgres import Postgres, binaries
from tests.serving.backup.conftest import payload, upload

HERE = Path(__file__).parent
KEYS = HERE / "keys.txt"
"""The fixture's keys: they protect nothing."""
SAID = "My card is 4111 1111 1111 1111, write to jo.doe@mail.com."


def configuration(folder: Path, url: str) -> Settings:
    """Write and load the configuration of a deployment in `folder`."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    file = folder / "s.yaml"
    file.write_text(
        f"model: {folder}\n"
        "lobs: {care: {}, private: {store: {redact: true, keep_originals: true}}}\n"
        f"storage: {{keys: {{file: {KEYS}}}}}\n"
        f"prompts: {folder / 'prompts'}\n"
        f"store: {{url: '{url}'}}\n"
        f"journal: {{dir: {folder / 'journal'}, encrypt: true}}\n"
        f"adapters: {{uri: {folder / 'adapters'}, cache_dir: {folder / 'cache'}}}\n"
        f"files: {{uri: {folder / 'files'}}}\n"
    )
    return settings_module.load(file)


async def fill(settings: Settings, db: Database) -> str:
    """Put something into every table; return an API key in clear."""
    assert settings.storage.keys is not None
    ring = keyring.read(settings.storage.keys)
    journal = Journal(settings.journal.dir, "living", seal=Sealer(ring, "journal").seal)
    sink = Storing(db, settings.lobs, ring)
    drainer = Drainer(
        settings.journal.dir,
        journal,
        sink.interactions,
        unseal=Sealer(ring, "journal").open,
    )
    task = asyncio.create_task(drainer.run())
    for id_ in ("one", "two", "three"):
        journal.append(payload(id_))
    journal.append(payload("erased", talk="erased"))
    journal.append(payload("redacted", SAID, lob="private", talk="private"))
    await drainer.flush(30)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    journal.close()

    plaintext, key = await auth.create(db, name="desk", roles=["service"], lobs=["care"])
    said = FeedbackRecord(
        interaction_id="one", client_key="1", key_id=key.id, edit="Please leave the house."
    )
    await feedback.add(db, said)
    sent = EventRecord(
        event_id="e-1", key_id=key.id, interaction_id="two", kind=Kind.SENT, at=1.8e9, text="Leave."
    )
    await events.add(db, [sent])
    await shadows.add(
        db, ShadowRecord(interaction_id="two", version="care@2", output="Go.", latency_ms=9.0)
    )
    await versions(settings, db)
    lease = await leases.acquire(db, "care", "fixture", 1.0)
    assert lease is not None
    await cycles.see(db, "care")
    await cycles.begin(db, "care", "100 new feedback", lease)
    await review(db, key.id)
    await batch(settings, db, key.id)
    await erasure.erase(
        db,
        erasure.target("conversation", "erased", "care", ring),
        reason="asked for",
        key_id=None,
        journal_dir=settings.journal.dir,
        keyring=ring,
        storage=FileStorage(settings.files.uri),
    )
    for name, seal in (("plain", None), ("sealed", Sealer(ring, "journal").seal)):
        waiting = Journal(settings.journal.dir, name, seal=seal)
        waiting.append(payload(f"waiting-{name}"))
        waiting.append(payload(f"erased-{name}", talk="erased"))
        waiting.close()
    return plaintext


async def versions(settings: Settings, db: Database) -> None:
    """Register two adapters with their dataset; the second is live."""
    dataset = DatasetRecord(id="0f" * 32, lob="care", uri="/gone", manifest={"rows": ["one"]})
    await datasets.save(db, dataset)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    registry = Registry(db, settings.adapters.uri)
    for parent in (None, "care@1"):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            card = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
            (folder / "adapter_config.json").write_text(json.dumps(card))
            tensors = {
                f"{module}.lora_A.weight": np.full((4, 16), 0.5, np.float32),
                f"{module}.lora_B.weight": np.full((32, 4), 0.25, np.float16),
            }
            save_file(tensors, folder / "adapter_model.safetensors")
            artifacts.stamp(folder, base_model="base", base_hash="base-hash")
            await registry.register(
                "care",
                await registry.reserve("care"),
                folder,
                parent=parent,
                base_model="base",
                base_hash="base-hash",
                dataset_id=dataset.id,
                recipe={"method": "sft"},
                metrics={"edit_similarity": 0.5},
                rank=4,
            )
    await routes.switch(db, "care", live="care@1", action=Action.PROMOTE)
    await routes.switch(db, "care", live="care@2", action=Action.PROMOTE)


async def review(db: Database, key_id: str) -> None:
    """Have one task decided, and another waiting."""
    for id_ in ("one", "two"):
        new = NewReview(
            id=f"review-{id_}",
            lob="care",
            task="suggestion",
            version="care@2",
            interaction_id=id_,
            key_id=key_id,
            kinds=["amount"],
            deadline_s=1e9,
            escalation_s=1e9,
            context=b"{}",
        )
        await queue.create(db, new)
    await queue.claim(db, "review-one", key_id, 1000.0)
    await queue.decide(db, "review-one", key_id, Decision.APPROVE, b"{}")


async def batch(settings: Settings, db: Database, key_id: str) -> None:
    """Leave a batch half done."""
    id_ = new_id("batch_")
    values = {
        "id": id_,
        "key_id": key_id,
        "scope": scope_of(["care"]),
        "endpoint": "/v1/chat/completions",
        "input_file_id": await upload(settings, db),
        "completion_window": "24h",
        "total": 1,
        "labels": {},
    }
    await batches.create(db, values, 1e9)
    await batches.keep(db, id_, 0, ok=True, body=b"{}")


def make(url: str, kind: str, folder: Path) -> None:
    """Fill a deployment over an empty store at `url`, and write its fixture."""
    settings = configuration(folder, url)

    async def run() -> str:
        db = Database(settings.store.url)
        await db.open()
        try:
            return await fill(settings, db)
        finally:
            await db.close()

    plaintext = asyncio.run(run())
    backup = folder / "backup"
    asyncio.run(take(settings, backup))
    name = f"{version('switchboard')}-{kind}"
    with tarfile.open(HERE / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(backup, "backup")
    (HERE / f"{name}.key").write_text(plaintext + "\n")


def main() -> None:
    """Write both fixtures of this release."""
    programs = binaries()
    assert programs is not None, "PostgreSQL's server programs are needed"
    with tempfile.TemporaryDirectory() as folder:
        make(f"sqlite:///{folder}/a/store.sqlite", "sqlite", Path(folder) / "a")
        server = Postgres(programs)
        server.start()
        try:
            make(server.url, "postgresql", Path(folder) / "b")
        finally:
            server.remove()


if __name__ == "__main__":
    main()
