"""Two-phase rollouts over all replicas, and why no replica can serve a stale version.

One coordinator runs for a cluster. A rollout is: *prepare* (every replica loads and warms the
version), *commit* (one database transaction moves the route), *activate* (every replica flips its
table), return. The coordinator returns only when every member has acknowledged; a member that is
silent is replaced (fenced: killed, so that its supervisor starts a fresh one), because a replica
that nobody can reach could go on answering with the old version.

A replica becomes a member with `enter`, and only with the epochs that are current at that instant,
so one that starts during a rollout either sees the new routes or is told to flip like the rest.
Commands reach replicas by long poll (`membership.py`); nothing here knows of Ray or HTTP.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Literal

from serving.adapters.registry import Registry
from serving.config.revision import Revision
from serving.errors import Conflict, NotFound, RolloutFailed, StoreUnavailable, SwitchboardError
from serving.rollout.membership import POLL_S, Command, Members
from serving.rollout.result import RolloutResult
from serving.store.records import AdapterVersion, Route

RESOLVE_S = 0.5


class Coordinator:
    """Runs rollouts, one at a time.

    Args:
        registry: Versions and routes.
        alive: Says whether a replica's process still exists.
        fence: Kills a replica for good; returns when it cannot answer any more.
        prepare_timeout_s: Longest a replica may take to load a version.
        lost_after_s: A live replica that is silent for longer is fenced.
        expected: Replicas that ran before this coordinator did and have yet to enter.
        revision: The configuration in force.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        alive: Callable[[str], Awaitable[bool]],
        fence: Callable[[str], Awaitable[None]],
        prepare_timeout_s: float = 120.0,
        lost_after_s: float = 10.0,
        expected: Iterable[str] = (),
        revision: Revision | None = None,
    ) -> None:
        self._registry = registry
        self._prepare_timeout_s = prepare_timeout_s
        self._members = Members(
            alive=alive, fence=fence, lost_after_s=lost_after_s, expected=expected
        )
        self._routes: dict[str, Route] | None = None
        self._revision = revision
        self._lock = asyncio.Lock()
        self._resolving: asyncio.Task[None] | None = None

    # What replicas call.

    async def routes(self) -> list[Route]:
        """The current routes, for a replica that starts."""
        if self._routes is None:
            self._routes = await self._registry.routes()
        return list(self._routes.values())

    async def revision(self) -> Revision | None:
        """The configuration in force, for a replica that starts."""
        return self._revision

    async def enter(
        self, replica: str, routes: Iterable[Route], revision: str | None = None
    ) -> list[Route] | None:
        """Join as a member, having loaded `routes` and the configuration with hash `revision`.

        Returns:
            None when these are the current ones and the replica is now a member; otherwise the
            current routes, which it has to load, as `revision`, before it asks again.
        """
        current = await self.routes()
        if {r.lob: r.epoch for r in routes} != {r.lob: r.epoch for r in current}:
            return current
        if self._revision is not None and revision != self._revision.hash:
            return current
        self._members.add(replica)
        self._members.expected.discard(replica)
        return None

    async def poll(self, replica: str, timeout_s: float = POLL_S) -> list[Command] | None:
        """Wait for commands: `Members.poll`."""
        return await self._members.poll(replica, timeout_s)

    async def leave(self, replica: str) -> None:
        """Leave as a member, having finished all requests: `Members.leave`."""
        self._members.leave(replica)

    async def ack(self, replica: str, command: int, error: SwitchboardError | None) -> None:
        """Report that a command is done, or why it failed."""
        self._members.ack(replica, command, error)

    def members(self) -> list[str]:
        """The replicas that answer requests now."""
        return self._members.names()

    # What operators call.

    async def configure(self, revision: Revision) -> int:
        """Put a configuration in force: on return no replica answers by the old one.

        Returns:
            How many replicas follow it; those that start read it as they enter.
        """
        async with self._lock:
            self._revision = revision
            self._prepare_timeout_s = revision.settings.rollouts.prepare_timeout_s
            self._members.lost_after_s = revision.settings.rollouts.lost_after_s
            return await self._members.command("configure", revision=revision)

    async def drain(self, limit_s: float) -> int:
        """Have every replica refuse new requests and end those in flight within `limit_s`."""
        futures = self._members.send_all("drain", limit_s=limit_s)
        await self._members.gather(futures, limit_s + self._members.lost_after_s)
        return len(futures)

    # What administrators call.

    async def promote(
        self, name: str, *, key_id: str | None = None, force: bool = False
    ) -> RolloutResult:
        """Make a version live for its line of business; ends a canary there.

        Raises:
            NotFound: No such version.
            Conflict: Its state forbids it (rejected, without `force`), or it is live already.
            AdapterRefused: A replica found its files unfit; nothing was switched.
            RolloutFailed: A replica could not load it; nothing was switched.
        """
        version = await self._version(name)
        route = (await self._registry.routes()).get(version.lob)
        if route and route.live == name and not route.canary:
            raise Conflict(f"{name} is live already.")
        if version.state == "rejected" and not force:
            raise Conflict(
                f"{name} was rejected by the gate. Use force to promote it all the same."
            )
        return await self._roll(
            "promote",
            version.lob,
            version,
            live=name,
            canary=None,
            share=0.0,
            key_id=key_id,
            force=force,
        )

    async def canary(
        self, name: str, share: float, *, key_id: str | None = None, force: bool = False
    ) -> RolloutResult:
        """Give a version a share, 0 < `share` < 1, of its line of business's conversations."""
        version = await self._version(name)
        if version.state == "rejected" and not force:
            raise Conflict(f"{name} was rejected by the gate. Use force to canary it all the same.")
        route = (await self._registry.routes()).get(version.lob)
        live = route.live if route else None
        if live == name:
            raise Conflict(f"{name} is live already.")
        return await self._roll(
            "canary",
            version.lob,
            version,
            live=live,
            canary=name,
            share=share,
            key_id=key_id,
            force=force,
        )

    async def rollback(
        self, lob: str, *, canary: str | None = None, key_id: str | None = None
    ) -> RolloutResult:
        """Stop a running canary; without one, return to the version that was live before.

        Where no version was live before, the base model answers again. `canary` names the canary
        to stop: should it have ended meanwhile, that is a Conflict and nothing else is undone.
        """
        route = (await self._registry.routes()).get(lob)
        if canary is not None and (route is None or route.canary != canary):
            raise Conflict(f"{canary} is not {lob}'s canary any more: nothing was rolled back.")
        if route is None or (route.live is None and route.canary is None):
            raise Conflict(f"{lob} is on the base model: there is nothing to roll back.")
        if route.canary:
            return await self._roll(
                "cancel_canary", lob, None, live=route.live, canary=None, share=0.0, key_id=key_id
            )
        previous = await self._registry.previous_live(lob)
        version = await self._version(previous) if previous else None
        return await self._roll(
            "rollback", lob, version, live=previous, canary=None, share=0.0, key_id=key_id
        )

    async def _version(self, name: str) -> AdapterVersion:
        version = await self._registry.get(name)
        if version is None:
            raise NotFound(f"There is no version {name}.", param="version")
        return version

    async def _roll(
        self,
        action: Literal["promote", "canary", "cancel_canary", "rollback"],
        lob: str,
        version: AdapterVersion | None,
        *,
        live: str | None,
        canary: str | None,
        share: float,
        key_id: str | None,
        force: bool = False,
    ) -> RolloutResult:
        async with self._lock:
            started = time.perf_counter()
            await self._members.wait_for_expected(self._prepare_timeout_s)
            await self._catch_up()
            if version is not None:
                await self._prepare(version)
            before = (await self.routes_by_lob()).get(lob)
            try:
                route = await self._registry.switch(
                    lob,
                    live=live,
                    canary=canary,
                    share=share,
                    action=action,
                    key_id=key_id,
                    force=force,
                )
            except StoreUnavailable:
                # It may have committed before the connection broke, so what is live is unknown.
                self._resolving = asyncio.create_task(self._resolve())
                raise
            self._routes = {**await self.routes_by_lob(), lob: route}
            replicas = await self._activate((route,))
            seconds = time.perf_counter() - started
            with suppress(StoreUnavailable):  # the switch is done; only its duration is not noted
                await self._registry.record_seconds(lob, route.epoch, seconds)
            return RolloutResult(
                action,
                lob,
                before.live if before else None,
                live if action != "canary" else canary,
                share,
                route.epoch,
                replicas,
                seconds,
            )

    async def routes_by_lob(self) -> dict[str, Route]:
        """The current routes by line of business."""
        return {route.lob: route for route in await self.routes()}

    async def _resolve(self) -> None:
        """Follow the store as soon as it answers, whether it took the last switch or not."""
        while True:
            await asyncio.sleep(RESOLVE_S)
            async with self._lock:
                with suppress(StoreUnavailable):
                    await self._catch_up()
                    await self._activate(())  # lets replicas drop what they loaded for nothing
                    return

    async def _catch_up(self) -> None:
        """Flip to what the database holds, should a commit have outlived its coordinator."""
        stored = await self._registry.routes()
        if self._routes is not None and stored != self._routes:
            self._routes = stored
            await self._activate(tuple(stored.values()))
        self._routes = stored

    async def _prepare(self, version: AdapterVersion) -> None:
        futures = self._members.send_all("prepare", version=version)
        errors = await self._members.gather(futures, self._prepare_timeout_s)
        if errors:
            await self._activate(tuple(await self.routes()))  # lets replicas drop what they loaded
            replica, error = next(iter(errors.items()))
            if error is not None:
                raise error
            raise RolloutFailed(
                f"{replica} did not load {version.name} within {self._prepare_timeout_s:g} s. "
                "Nothing was switched."
            )

    async def _activate(self, routes: tuple[Route, ...]) -> int:
        return await self._members.command("activate", routes=routes)
