"""Applying a configuration to a running server: all of it, or nothing.

First what is heavy: replicas restart one by one with the new engine settings, while the others
answer. If one of them does not start, the old ones come back and nothing has changed. Only then
what is light goes to every replica at once. So a configuration is never half in force.

Nothing here knows of Ray: the coordinator's actor gives what deploys and what remembers.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from serving.cluster import options
from serving.config import revision as revisions
from serving.config.revision import Plan, Revision
from serving.config.settings import Settings
from serving.errors import Conflict, SwitchboardError
from serving.rollout.coordinator import Coordinator
from serving.store import audit
from serving.store.database import Database

logger = logging.getLogger(__name__)

Deploy = Callable[[Revision], Awaitable[None]]
"""Runs the replicas of a revision; returns when all do, raises RolloutFailed when one cannot."""

_REASON = "only the file on the machine changes it: stop the server and start it with the new file"


@dataclass(slots=True)
class Application:
    """One application of a configuration, while it runs and after."""

    hash: str
    plan: Plan
    state: Literal["running", "applied", "failed"] = "running"
    error: str | None = None
    replicas: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)


class Applier:
    """Applies configurations, one at a time.

    Args:
        coordinator: Reaches the replicas.
        db: Where it is audited.
        deploy: Runs the replicas of a revision.
        keep: Remembers the revision in force and the one being applied, should this process die.
        short_of: Names the resources that one more replica would lack, if any.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        db: Database,
        *,
        deploy: Deploy,
        keep: Callable[[Revision, Revision | None], Awaitable[None]],
        short_of: Callable[[Settings], Awaitable[list[str]]],
    ) -> None:
        self._coordinator = coordinator
        self._db = db
        self._deploy = deploy
        self._keep = keep
        self._short_of = short_of
        self._last: Application | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, revision: Revision) -> None:
        """Put the configuration in force that the server starts with."""
        await self._keep(revision, None)
        await self._coordinator.configure(revision)

    async def recover(self, pending: Revision | None) -> None:
        """Return to the revision in force, should an application have died half-way."""
        if pending is not None:
            current = await self._current()
            logger.warning("Applying %s was interrupted; %s stays", pending.hash, current.hash)
            self._last = Application(
                pending.hash,
                revisions.plan(current, pending),
                "failed",
                "The coordinator restarted meanwhile.",
            )
            await self._deploy(current)
            await self._keep(current, None)

    async def preview(
        self, revision: Revision, *, key_id: str | None, allow_gap: bool = False
    ) -> Plan:
        """`plan` for somebody who only asks; the audit says who asked what, and what was said.

        Raises:
            Conflict: As `plan`.
        """
        detail: dict[str, Any] = {"state": "possible"}
        try:
            plan = await self.plan(revision, allow_gap=allow_gap)
            detail["keys"] = plan.keys
        except Conflict as exc:
            detail |= {"state": "refused", "error": exc.message}
            raise
        finally:
            await audit.write(self._db, key_id, "preview_config", revision.hash, detail)
        return plan

    async def plan(self, revision: Revision, *, allow_gap: bool = False) -> Plan:
        """Say what applying a revision would change, and refuse what cannot be.

        Raises:
            Conflict: It changes what cannot change, would leave a gap, or lacks resources.
        """
        current = await self._current()
        plan = revisions.plan(current, revision)
        if plan.fixed:
            raise Conflict(
                "\n  ".join(f"{key}: {_REASON}." for key in plan.fixed), param=plan.fixed[0]
            )
        if plan.heavy:
            await self._check_room(current.settings, revision.settings, allow_gap)
        return plan

    async def apply(
        self, revision: Revision, *, key_id: str | None, allow_gap: bool = False
    ) -> dict[str, Any]:
        """Begin to apply a revision; `view` tells how it goes.

        Raises:
            Conflict: As `plan`, or another one is being applied.
        """
        if self._task is not None and not self._task.done():
            raise Conflict("Another configuration is being applied. Wait until it is done.")
        plan = await self.plan(revision, allow_gap=allow_gap)
        self._last = Application(revision.hash, plan)
        self._task = asyncio.create_task(self._run(self._last, revision, key_id))
        await asyncio.wait([self._task], timeout=1.0)  # what is light is done by then
        return await self.view()

    async def settled(self) -> None:
        """Wait until nothing is being applied."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def view(self) -> dict[str, Any]:
        """The configuration in force, secrets masked, and the last application."""
        current = await self._current()
        return {
            "object": "config",
            "hash": current.hash,
            "applied_at": current.applied_at,
            "settings": revisions.shown(current.settings),
            "prompts": sorted(current.prompts),
            "apply": None if self._last is None else _told(self._last),
        }

    async def _current(self) -> Revision:
        current = await self._coordinator.revision()
        if current is None:
            raise Conflict("The server is still starting.")
        return current

    async def _check_room(self, old: Settings, new: Settings, allow_gap: bool) -> None:
        if new.rollouts.surge:
            missing = await self._short_of(new)
            if missing:
                raise Conflict(
                    f"No room for one more replica ({', '.join(missing)}), which "
                    "rollouts.surge starts before it stops one. Turn rollouts.surge off to stop "
                    "one first.",
                    param="rollouts.surge",
                )
        elif options.fewest(old) < 2 and not allow_gap:
            raise Conflict(
                "With one replica and rollouts.surge off, nothing would answer while it restarts. "
                "Allow the gap (--allow-gap), or turn rollouts.surge on.",
                param="rollouts.surge",
            )

    async def _run(self, done: Application, revision: Revision, key_id: str | None) -> None:
        current = await self._current()
        try:
            await self._keep(current, revision)
            if done.plan.heavy or done.plan.scale:
                await self._roll(current, revision)
            done.replicas = await self._coordinator.configure(revision)
            await self._keep(revision, None)
            done.state = "applied"
        except SwitchboardError as exc:
            done.error, done.state = exc.message, "failed"
        except Exception as exc:
            logger.exception("%s could not be applied", revision.hash)
            done.error, done.state = f"{type(exc).__name__}: {exc}", "failed"
        finally:
            done.seconds = time.monotonic() - done.started
        detail = {"from": current.hash, "keys": done.plan.keys, "state": done.state}
        try:
            await audit.write(
                self._db, key_id, "apply_config", revision.hash, {**detail, "error": done.error}
            )
        except SwitchboardError:
            logger.exception("Applying %s could not be audited", revision.hash)

    async def _roll(self, current: Revision, revision: Revision) -> None:
        try:
            await self._deploy(revision)
        except Exception:
            await self._deploy(current)
            await self._keep(current, None)
            raise


def _told(done: Application) -> dict[str, Any]:
    seconds = done.seconds or time.monotonic() - done.started
    return {
        "hash": done.hash,
        "state": done.state,
        "error": done.error,
        "changes": {name: list(keys) for name, keys in asdict(done.plan).items() if keys},
        "replicas": done.replicas,
        "seconds": round(seconds, 3),
    }
