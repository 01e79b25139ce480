"""Puts a replica together: store, journal, keys, engine, adapters, gateway.

It imports neither Ray nor vLLM itself; deployment.py calls `start` inside a Serve replica.
"""

import asyncio
import importlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving import api, artifacts, prompts
from serving.adapters import Adapters
from serving.capture import to_record
from serving.errors import Unavailable
from serving.gateway import Gateway
from serving.health import Health
from serving.journal import Drainer, Journal
from serving.keys import KeyRing
from serving.registry import Registry
from serving.routing import Table
from serving.settings import Settings
from serving.store import interactions
from serving.store.database import Database

FLUSH_S = 5.0
DRAIN_BATCH = 64

if TYPE_CHECKING:
    from serving.engine import Engine


@dataclass(slots=True)
class Parts:
    """What a replica is made of."""

    engine: "Engine"
    adapters: Adapters
    gateway: Gateway
    drainer: Drainer
    journal: Journal
    db: Database
    keys: KeyRing
    draining: asyncio.Task[None]

    async def stop(self) -> None:
        """Move what is captured to the store, as far as it is up, and end the engine."""
        with suppress(Unavailable, TimeoutError):
            await self.drainer.flush(FLUSH_S)
        self.draining.cancel()
        self.journal.close()
        await self.keys.stop()
        await self.db.close()
        await self.engine.stop()


async def start(settings: Settings, name: str, rollouts: api.Rollouts) -> Parts:
    """Start a replica's parts; returns when the engine can answer.

    Args:
        settings: The configuration.
        name: The replica's unique name.
        rollouts: Runs a rollout on the cluster's coordinator.
    """
    engine_module = importlib.import_module("serving.engine")
    db = Database(settings.store.url)
    await db.open_when_up()
    registry = Registry(db, settings.adapters.uri)
    journal = Journal(
        settings.journal.dir,
        re.sub(r"[^A-Za-z0-9-]+", "-", name),
        fsync=settings.journal.fsync,
        limit_bytes=settings.journal.limit_bytes,
    )

    async def sink(payloads: list[bytes]) -> None:
        # Parsing streams takes a while: in a thread, so that no token waits for it.
        records = await asyncio.to_thread(lambda: [to_record(payload) for payload in payloads])
        await interactions.save(db, records)

    drainer = Drainer(settings.journal.dir, journal, sink, batch=DRAIN_BATCH)
    keys = KeyRing(db)
    await keys.start()
    draining = asyncio.create_task(drainer.run())
    engine: Engine = await engine_module.Engine.start(settings)
    adapters = Adapters(
        engine,
        registry,
        Table(settings.served_name, settings.lobs, {}),
        base_hash=await asyncio.to_thread(artifacts.model_hash, settings.model),
        base_folder=_folder(settings.model),
        max_rank=settings.adapters.max_rank,
        cache_dir=settings.adapters.cache_dir,
    )
    await engine.ready()
    health = Health(
        name,
        store=(keys.alarm, drainer.alarm),
        journal=journal,
        drainer=drainer,
        limit_bytes=settings.journal.limit_bytes,
    )
    own = api.build(
        db=db,
        registry=registry,
        health=health,
        adapters=adapters,
        base=settings.served_name,
        lobs=sorted(settings.lobs),
        ready=engine.ready,
        rollouts=rollouts,
    )
    gateway = Gateway(
        engine_app=engine.app,
        api_app=own,
        keys=keys,
        adapters=adapters,
        journal=journal,
        prompts=prompts.load(settings.prompts, list(settings.lobs)),
        sampling_fields=engine_module.chat_fields(),
        health=health,
        settings=settings,
        replica=name,
    )
    return Parts(engine, adapters, gateway, drainer, journal, db, keys, draining)


def _folder(model: str) -> Path | None:
    """The base's files, unless `model` is a hub id."""
    path = Path(model)
    return path if path.is_dir() else None
