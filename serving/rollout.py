"""Two-phase rollouts over all replicas, and why no replica can serve a stale version.

One coordinator runs for a cluster. A rollout is: *prepare* (every replica loads and warms the
version), *commit* (one database transaction moves the route), *activate* (every replica flips its
table), return. The coordinator returns only when every member has acknowledged; a member that is
silent is replaced (fenced: killed, so that its supervisor starts a fresh one), because a replica
that nobody can reach could go on answering with the old version.

A replica becomes a member with `enter`, and only with the epochs that are current at that instant,
so one that starts during a rollout either sees the new routes or is told to flip like the rest.
Commands reach replicas by long poll; this module knows nothing of Ray or HTTP.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from serving.errors import Conflict, NotFound, RolloutFailed, SwitchboardError
from serving.registry import Registry
from serving.store.records import AdapterVersion, Route

POLL_S = 4.0
CHECK_S = 0.25


@dataclass(frozen=True, slots=True)
class Command:
    """What a replica is told to do; it answers with `Coordinator.ack`."""

    id: int
    kind: Literal["prepare", "activate"]
    version: AdapterVersion | None = None
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollout:
    """What a promotion, canary or rollback did. `seconds` is from request to last flip."""

    action: str
    lob: str
    from_version: str | None
    to_version: str | None
    share: float
    epoch: int
    replicas: int
    seconds: float


@dataclass(slots=True)
class _Member:
    id: str
    seen: float = field(default_factory=time.monotonic)
    commands: list[Command] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)

    def send(self, command: Command) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self.waiting[command.id] = future
        self.commands.append(command)
        self.wake.set()
        return future


class Coordinator:
    """Runs rollouts, one at a time.

    Args:
        registry: Versions and routes.
        alive: Says whether a replica's process still exists.
        fence: Kills a replica for good; returns when it cannot answer any more.
        prepare_timeout_s: Longest a replica may take to load a version.
        lost_after_s: A live replica that is silent for longer is fenced.
        expected: Replicas that ran before this coordinator did and have yet to enter.
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
    ) -> None:
        self._registry = registry
        self._alive = alive
        self._fence = fence
        self._prepare_timeout_s = prepare_timeout_s
        self._lost_after_s = lost_after_s
        self._expected = set(expected)
        self._members: dict[str, _Member] = {}
        self._routes: dict[str, Route] | None = None
        self._lock = asyncio.Lock()
        self._ids = 0

    # What replicas call.

    async def routes(self) -> list[Route]:
        """The current routes, for a replica that starts."""
        if self._routes is None:
            self._routes = await self._registry.routes()
        return list(self._routes.values())

    async def enter(self, replica: str, routes: Iterable[Route]) -> list[Route] | None:
        """Join as a member, having loaded `routes`.

        Returns:
            None when these are the current routes and the replica is now a member; otherwise the
            current routes, which it has to load before it asks again.
        """
        current = await self.routes()
        if {r.lob: r.epoch for r in routes} != {r.lob: r.epoch for r in current}:
            return current
        self._members[replica] = _Member(replica)
        self._expected.discard(replica)
        return None

    async def poll(self, replica: str, timeout_s: float = POLL_S) -> list[Command] | None:
        """Wait for commands; an empty list after `timeout_s`; None tells it to enter again."""
        member = self._members.get(replica)
        if member is None:
            return None
        member.seen = time.monotonic()
        if not member.commands:
            member.wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await member.wake.wait()
            except TimeoutError:
                pass
        member.seen = time.monotonic()
        commands, member.commands = member.commands, []
        return commands

    async def ack(self, replica: str, command: int, error: SwitchboardError | None) -> None:
        """Report that a command is done, or why it failed."""
        member = self._members.get(replica)
        future = member.waiting.pop(command, None) if member else None
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def members(self) -> list[str]:
        """The replicas that answer requests now."""
        return sorted(self._members)

    # What administrators call.

    async def promote(
        self, name: str, *, key_id: str | None = None, force: bool = False
    ) -> Rollout:
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
    ) -> Rollout:
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

    async def rollback(self, lob: str, *, key_id: str | None = None) -> Rollout:
        """Stop a running canary; without one, return to the version that was live before.

        Where no version was live before, the base model answers again.
        """
        route = (await self._registry.routes()).get(lob)
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
    ) -> Rollout:
        async with self._lock:
            started = time.perf_counter()
            await self._wait_for_expected()
            await self._catch_up()
            if version is not None:
                await self._prepare(version)
            before = (await self.routes_by_lob()).get(lob)
            route = await self._registry.switch(
                lob,
                live=live,
                canary=canary,
                share=share,
                action=action,
                key_id=key_id,
                force=force,
            )
            self._routes = {**await self.routes_by_lob(), lob: route}
            replicas = await self._activate((route,))
            seconds = time.perf_counter() - started
            await self._registry.record_seconds(lob, route.epoch, seconds)
            return Rollout(
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

    async def _catch_up(self) -> None:
        """Flip to what the database holds, should a commit have outlived its coordinator."""
        stored = await self._registry.routes()
        if self._routes is not None and stored != self._routes:
            self._routes = stored
            await self._activate(tuple(stored.values()))
        self._routes = stored

    async def _wait_for_expected(self) -> None:
        deadline = time.monotonic() + self._prepare_timeout_s
        while self._expected:
            for replica in list(self._expected):
                if not await self._alive(replica):
                    self._expected.discard(replica)
            if self._expected and time.monotonic() > deadline:
                raise RolloutFailed(
                    f"Replicas have not reported since the coordinator restarted: "
                    f"{', '.join(sorted(self._expected))}. Nothing was switched."
                )
            if self._expected:
                await asyncio.sleep(CHECK_S)

    async def _prepare(self, version: AdapterVersion) -> None:
        futures = self._send_all("prepare", version=version)
        errors = await self._gather(futures, self._prepare_timeout_s)
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
        futures = self._send_all("activate", routes=routes)
        errors = await self._gather(futures, self._lost_after_s)
        for replica in errors:  # it may still answer with the old version
            await self._replace(replica)
        return len(futures) - len(errors)

    def _send_all(
        self,
        kind: Literal["prepare", "activate"],
        version: AdapterVersion | None = None,
        routes: tuple[Route, ...] = (),
    ) -> dict[str, asyncio.Future[None]]:
        self._ids += 1
        command = Command(self._ids, kind, version, routes)
        return {id_: member.send(command) for id_, member in self._members.items()}

    async def _gather(
        self, futures: dict[str, asyncio.Future[None]], timeout_s: float
    ) -> dict[str, SwitchboardError | None]:
        """Wait for all; the failed ones with their error, or None for no answer in time.

        A member that died meanwhile is dropped: a dead process answers nobody.
        """
        deadline = time.monotonic() + timeout_s
        pending = dict(futures)
        failed: dict[str, SwitchboardError | None] = {}
        while pending:
            await asyncio.wait(pending.values(), timeout=CHECK_S)
            for replica, future in list(pending.items()):
                if future.done():
                    del pending[replica]
                    if error := future.exception():
                        failed[replica] = (
                            error
                            if isinstance(error, SwitchboardError)
                            else RolloutFailed(f"{replica}: {error}")
                        )
                elif not await self._alive(replica):
                    del pending[replica]
                    self._members.pop(replica, None)
                elif self._silent(replica):
                    del pending[replica]
                    await self._replace(replica)
                elif time.monotonic() > deadline:
                    del pending[replica]
                    failed[replica] = None
        return failed

    def _silent(self, replica: str) -> bool:
        member = self._members.get(replica)
        return member is None or time.monotonic() - member.seen > self._lost_after_s

    async def _replace(self, replica: str) -> None:
        self._members.pop(replica, None)
        await self._fence(replica)
