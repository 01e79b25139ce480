"""Puts a replica together: store, journal, keys, engine, adapters, gateway.

It imports neither Ray nor vLLM itself; replica_deployment.py calls `start` inside a Serve replica.
"""

import asyncio
import importlib.metadata
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.adapters import artifacts
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.admission.fair_queue import Admission
from serving.admission.priority import Priorities
from serving.alerts.bulk_reads import BulkReads
from serving.alerts.client_address import TOKEN_VARIABLE
from serving.alerts.new_network import NewNetworks
from serving.alerts.reviews import ReviewNotices
from serving.api import app, batches, config, files, fine_tuning, openapi
from serving.api import erasures as erasure_api
from serving.api.compatible import transcriptions
from serving.api.realtime import endpoint as realtime
from serving.auth import KeyRing
from serving.batches.worker import Worker
from serving.capture import Drainer, Journal
from serving.capture.drainer import Sink
from serving.capture.health import Health
from serving.capture.review_sweep import Sweep
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.capture.traced import traced_sink
from serving.cluster import lines
from serving.cluster.beside import Beside
from serving.cluster.engine_check import check_engine
from serving.config import prompts
from serving.config.revision import Revision, light_part
from serving.console import app as console
from serving.encryption import keyring as keyring_module
from serving.encryption.sealing import Sealer
from serving.erasure.journals import Cleaner
from serving.erasure.retention_sweep import RetentionSweep
from serving.errors import Unavailable
from serving.fallback.chain import Chains
from serving.files.storage import FileStorage
from serving.files.upload import FileLimits, Files
from serving.gateway.app import Gateway
from serving.gateway.guarding.checks import Guarding
from serving.gateway.metrics_page import Exchange, MetricsPage
from serving.gateway.shadow import Shadows
from serving.knowledge.libraries import Libraries
from serving.observability import logs
from serving.observability.tracing import Tracing, traced_engine
from serving.routing import Table
from serving.store.database import Database
from serving.store.erasure import erasures

FLUSH_S = 5.0

if TYPE_CHECKING:
    from serving.engine.engine import Engine


@dataclass(slots=True)
class Parts:
    """What a replica is made of."""

    engine: "Engine"
    adapters: AdapterManager
    admission: Admission
    chains: Chains
    gateway: Gateway
    drainer: Drainer
    journal: Journal
    db: Database
    keys: KeyRing
    storing: Storing
    reviewing: Reviewing
    notices: ReviewNotices
    libraries: Libraries
    beside: Beside
    batching: Worker
    retention: RetentionSweep
    cleaning: asyncio.Task[None]
    background: list[asyncio.Task[None]]
    metrics_page: MetricsPage
    tracing: Tracing | None = None
    revision: str | None = None

    def configure(self, revision: Revision) -> None:
        """Answer by another revision from the next request on; no await, so no request sees half.

        Raises:
            ConfigError: Its prompts are unfit; nothing has changed.
        """
        settings = light_part(self.gateway.settings, revision.settings)
        parsed = prompts.parse(revision.prompts, settings.lobs)
        self.gateway.configure(settings, parsed)
        self.storing.configure(settings.lobs)
        self.reviewing.configure(settings.lobs)
        self.notices.configure(settings.lobs)
        self.retention.configure(settings.lobs)
        self.adapters.set_lobs(lines.fallbacks(settings))
        self.chains.configure(settings)
        self.admission.configure(
            settings.limits,
            lines.limits(settings),
            places=settings.limits.max_inflight or self.engine.max_num_seqs,
            replicas=revision.settings.replicas,
        )
        self.revision = revision.hash

    async def drain(self, limit_s: float, *, refuse: bool) -> None:
        """Leave batches to others, and let requests in flight finish; see `Gateway.drain`."""
        await self.batching.stop()
        await self.gateway.drain(limit_s, refuse=refuse)

    async def stop(self) -> None:
        """Move what is captured to the store, as far as it is up, and end the engine."""
        await self.batching.stop()
        with suppress(Unavailable, TimeoutError):
            await self.drainer.flush(FLUSH_S)
        for task in (*self.background, self.cleaning):
            task.cancel()
        self.journal.close()
        with suppress(asyncio.CancelledError):  # or it says once more that the journal lives
            await self.cleaning
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await erasures.left(self.db, self.journal.folder.name)
        await self.libraries.close()
        await self.beside.close()
        await self.chains.close()
        await self.keys.stop()
        await self.db.close()
        await self.engine.stop()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


async def start(
    revision: Revision,
    name: str,
    rollouts: app.Rollouts,
    configs: config.Configs,
    pages: Exchange,
) -> Parts:
    """Start a replica's parts; returns when the engine can answer.

    Args:
        revision: The configuration.
        name: The replica's unique name.
        rollouts: Runs a rollout on the cluster's coordinator.
        configs: Reads and applies configurations there.
        pages: Exchanges pages of metrics there.
    """
    settings = revision.settings
    logs.configure(settings.telemetry.log_format)
    engine_module = importlib.import_module("serving.engine.engine")
    source = settings.storage.keys
    keyring = None if source is None else await asyncio.to_thread(keyring_module.read, source)
    db = Database(settings.store_address)
    await db.open_when_up()
    registry = Registry(db, settings.adapters.uri)
    sealer = Sealer(keyring, "journal")
    journal = Journal(
        settings.journal.dir,
        re.sub(r"[^A-Za-z0-9-]+", "-", name),
        fsync=settings.journal.fsync,
        limit_bytes=settings.journal.limit_bytes,
        seal=sealer.seal if settings.journal.encrypt else None,
    )
    storing = Storing(db, settings.lobs, keyring, settings.storage.names)
    telemetry, tracing = settings.telemetry, None
    sink: Sink = storing.interactions
    if telemetry.otlp_endpoint is not None:
        tracing = Tracing(telemetry, name, importlib.metadata.version("switchboard"))
        sink = traced_sink(sink, tracing)
    drainer = Drainer(
        settings.journal.dir,
        journal,
        sink,
        batch=settings.journal.batch_records,
        wait_s=settings.journal.batch_s,
        unseal=sealer.open,
    )
    await (keys := KeyRing(db)).start()
    background = [asyncio.create_task(drainer.run())]
    cleaner = Cleaner(db, drainer, settings.journal.dir, journal.folder.name, sealer.open)
    cleaning = asyncio.create_task(cleaner.run())
    with logs.buffers_kept():  # Serve's, which vLLM's would close
        engine: Engine = await engine_module.Engine.start(settings)
    engine_app = engine.app if tracing is None else traced_engine(engine.app)
    adapters = AdapterManager(
        engine,
        registry,
        Table(settings.served_name, settings.lobs, {}),
        base_hash=await asyncio.to_thread(artifacts.model_hash, settings.model),
        base_folder=lines.base_folder(settings),
        max_rank=settings.adapters.max_rank,
        cache_dir=settings.adapters.cache_dir,
        upstreams=lines.upstreams(settings),
    )
    adapters.set_lobs(lines.fallbacks(settings))
    chains = Chains(engine_app, engine.check, adapters, settings)
    special_tokens = engine.special_tokens()
    reviewing = Reviewing(db, settings.lobs, keyring, storing)
    guarding = Guarding(settings, special_tokens, chains.upstream, reviewing)
    beside = Beside.of(settings, chains.upstream)
    models = beside.models
    libraries = Libraries(db, settings.lobs, models.embedder, models.own)
    await asyncio.gather(engine.ready(), beside.start())
    await libraries.warm()
    health = Health(
        name,
        store=(keys.alarm, drainer.alarm),
        journal=journal,
        drainer=drainer,
        limit_bytes=settings.journal.limit_bytes,
        guards=guarding.alarms,
        alarms=(storing.alarm,),
    )
    own = app.build(
        db=db,
        registry=registry,
        drainer=drainer,
        health=health,
        storing=storing,
        adapters=adapters,
        base=settings.served_name,
        ready=engine.ready,
        rollouts=rollouts,
        reviewing=reviewing,
        models=models,
        costs=settings.costs,
        speech=beside.transcriber.names,
    )
    limits = settings.limits
    admission = Admission(
        limits,
        lines.limits(settings),
        places=limits.max_inflight or engine.max_num_seqs,
        levels=Priorities(limits.priorities).levels,
        replicas=settings.replicas,
        adapters=settings.adapters.max_active,
    )
    admission.expose()
    own.include_router(config.router(configs, check_engine))
    of, body = settings.files, settings.http.body_limit_bytes
    file_limits = FileLimits(of.max_bytes, of.quota_bytes, body, of.keep_days)
    kept = Files(db, FileStorage(of.uri), file_limits)
    own.include_router(erasure_api.router(db, settings.journal.dir, keyring, kept.storage))
    own.include_router(files.router(kept))
    own.include_router(batches.router(db))
    own.include_router(fine_tuning.router(db, lambda: adapters.table, settings.fine_tuning))
    own.include_router(transcriptions.router(beside.transcriber))
    own.include_router(realtime.router(beside.transcriber))
    openapi.describe(own)
    metrics_page = MetricsPage(engine.app, name, pages)
    proxies, token = settings.http.trusted_proxies, os.environ.get(TOKEN_VARIABLE)
    networks = NewNetworks(db, settings.alerts, proxies, name, token)
    gateway = Gateway(
        engine_app=engine_app,
        api_app=own,
        keys=keys,
        adapters=adapters,
        admission=admission,
        chains=chains,
        journal=journal,
        prompts=prompts.parse(revision.prompts, settings.lobs),
        sampling_fields=engine_module.chat_fields(),
        special_tokens=special_tokens,
        template=engine.template,
        health=health,
        settings=settings,
        shadows=Shadows(engine.app, adapters, admission, storing.shadow, settings, chains),
        guarding=guarding,
        libraries=libraries,
        replica=name,
        metrics_page=metrics_page,
        tracing=tracing,
        saw=networks.saw,
    )
    if settings.console.enabled:
        gateway.console = console.build(gateway, db, keys)
    batching = Worker(kept, gateway, admission, name)
    batching.start()
    notices = ReviewNotices(db, settings.lobs, name)
    retention = RetentionSweep(db, settings.lobs, name)
    sweeps = Sweep(reviewing, name), notices, retention, BulkReads(db, settings.alerts, name)
    background += [asyncio.create_task(part.run()) for part in (*sweeps, networks)]
    return Parts(
        *(engine, adapters, admission, chains, gateway, drainer, journal, db, keys),
        *(storing, reviewing, notices, libraries, beside),
        *(batching, retention, cleaning, background),
        *(metrics_page, tracing),
    )
