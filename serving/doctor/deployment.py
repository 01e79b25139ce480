"""Checks of a deployment: configuration, store, keys, journals, and the server that answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from serving import auth, endpoints, ports
from serving.capture import segments
from serving.capture.journal import REJECTED
from serving.config import prompts
from serving.config.settings import Settings
from serving.doctor.finding import Finding, State
from serving.errors import ConfigError
from serving.startup import preflight
from serving.store import audit
from serving.store.database import Database
from serving.store.migrations.newest import newest

SOON_S = 14 * 86_400.0
TIMEOUT_S = 5.0
Result = TypeVar("Result")


def configuration(settings: Settings) -> Finding:
    """What `switchboard serve --check` would say."""
    files = prompts.read(settings.prompts)
    try:
        found = preflight.run(settings, files, starting=False)
    except ConfigError as exc:
        return Finding("configuration", State.FAULT, exc.message)
    facts = {"model": settings.model, "lines": sorted(settings.lobs), "says": found.lines()}
    said = f"{settings.model} for {', '.join(sorted(settings.lobs))}: no faults found"
    return Finding("configuration", State.OK, said, facts)


def server(settings: Settings) -> Finding:
    """Whether a server answers where the file says, and what its health page says."""
    try:
        page = httpx.get(settings.url + endpoints.HEALTH, timeout=TIMEOUT_S, verify=False)  # noqa: S501
        health = page.json()
    except (httpx.HTTPError, ValueError):
        health = None
    if health is None:
        try:
            ports.check(settings.http)
        except ConfigError as exc:
            said = f"no Switchboard answers on {settings.url}, and the port is taken: {exc.message}"
            return Finding("server", State.FAULT, said)
        said = f"none runs on {settings.url}; the port is free"
        return Finding("server", State.OK, said, {"running": False})
    status = str(health.get("status"))
    facts = {"running": True, "health": health}
    if status in ("live", "ready"):
        return Finding("server", State.OK, f"{settings.url} is {status}", facts)
    parts = [f"{name} {one['state']}" for name, one in health.items() if _is_bad(one)]
    said = f"{settings.url} is {status}: {', '.join(parts) or 'see its health page'}"
    return Finding("server", State.WARNING, said, facts)


def _is_bad(part: Any) -> bool:
    return isinstance(part, dict) and part.get("state") not in (None, "ok", "up")


def store(settings: Settings) -> Finding:
    """Whether the store answers, has this release's tables, and its audit holds."""

    async def look(db: Database) -> Finding:
        facts: dict[str, Any] = {"kind": db.url.get_backend_name(), "knows": newest()}
        if not _is_there(db):
            said = "there is none yet; the first start makes it"
            return Finding("store", State.OK, said, facts)
        if not await db.at_newest():
            said = f"its tables are not at step {newest()}; the next start brings them there"
            return Finding("store", State.WARNING, said, facts)
        at, broken = await audit.verify(db)
        facts["audit"] = f"{at.number}:{at.hash}"
        if broken is not None:
            return Finding("store", State.FAULT, f"the audit is broken: {broken.reason}", facts)
        said = f"{facts['kind']} answers at step {newest()}; its audit of {at.number} is whole"
        return Finding("store", State.OK, said, facts)

    return _with(settings, look)


def keys(settings: Settings) -> Finding:
    """API keys that are missing, ended or about to end."""

    async def look(db: Database) -> Finding:
        if not settings.auth.enabled:
            return Finding("keys", State.WARNING, "auth.enabled is off: any local user may ask")
        there = _is_there(db) and await db.at_newest()
        known = await auth.list_keys(db) if there else []
        now = time.time()
        good = [key for key in known if key.revoked_at is None]
        live = [key for key in good if key.expires_at is None or key.expires_at > now]
        ending = [key for key in live if key.expires_at and key.expires_at < now + SOON_S]
        facts = {"live": len(live), "ended": len(good) - len(live)}
        facts |= {"revoked": len(known) - len(good), "end_in_14_days": len(ending)}
        if not live:
            said = "there is none that is valid: switchboard keys create"
            return Finding("keys", State.FAULT, said, facts)
        if ending:
            names = ", ".join(f"{key.id} ({key.name})" for key in ending)
            return Finding("keys", State.WARNING, f"end within 14 days: {names}", facts)
        return Finding("keys", State.OK, f"{len(live)} valid", facts)

    return _with(settings, look)


def journals(settings: Settings) -> Finding:
    """What waits on this disk for the store, and what was set aside."""
    folder = settings.journal.dir
    waiting = aside = 0
    for own in (one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else ():
        size = sum(
            segments.segment_path(own, number).stat().st_size
            for number in segments.segment_numbers(own)
        )
        if own.name == REJECTED:
            aside += size
        else:
            waiting += size
    facts = {"waiting_bytes": waiting, "rejected_bytes": aside}
    if aside:
        said = f"{aside} bytes were set aside in {folder / REJECTED}: each has its reason beside it"
        return Finding("journals", State.WARNING, said, facts)
    if waiting > settings.journal.limit_bytes / 2:
        said = f"{waiting} bytes wait for the store, over half of journal.limit_bytes"
        return Finding("journals", State.WARNING, said, facts)
    return Finding("journals", State.OK, f"{waiting} bytes wait for the store", facts)


def _is_there(db: Database) -> bool:
    """Whether there is a database: SQLite would make one."""
    return not db.is_sqlite or Path(db.url.database or "").exists()


def _with(settings: Settings, look: Callable[[Database], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        db = Database(settings.store_address)
        try:
            return await look(db)
        finally:
            await db.close()

    return asyncio.run(run())
