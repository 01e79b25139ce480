"""The replicas that answer requests, and how commands reach them: long poll and acknowledgement.

A member that dies is dropped, since a dead process answers nobody. One that lives but is silent is
fenced: killed, because it might go on answering with what it was told to leave.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from serving.config.revision import Revision
from serving.errors import RolloutFailed, SwitchboardError
from serving.store.records import AdapterVersion, Route

POLL_S = 4.0
CHECK_S = 0.25
Kind = Literal["prepare", "activate", "configure", "drain"]


@dataclass(frozen=True, slots=True)
class Command:
    """What a replica is told to do; it answers with `ack`.

    `prepare` a version, `activate` routes, `configure` itself by a revision, or `drain`: refuse
    new requests and end those in flight within `limit_s` seconds.
    """

    id: int
    kind: Kind
    version: AdapterVersion | None = None
    routes: tuple[Route, ...] = ()
    revision: Revision | None = None
    limit_s: float = 0.0


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


class Members:
    """The members of a cluster.

    Args:
        alive: Says whether a replica's process still exists.
        fence: Kills a replica for good; returns when it cannot answer any more.
        lost_after_s: A live member that is silent for longer is fenced.
        expected: Replicas that ran before this coordinator did and have yet to enter.
    """

    def __init__(
        self,
        *,
        alive: Callable[[str], Awaitable[bool]],
        fence: Callable[[str], Awaitable[None]],
        lost_after_s: float,
        expected: Iterable[str] = (),
    ) -> None:
        self._alive = alive
        self._fence = fence
        self.lost_after_s = lost_after_s
        self.expected = set(expected)
        self._members: dict[str, _Member] = {}
        self._ids = 0

    def add(self, replica: str) -> None:
        """Make a replica a member, anew if it was one."""
        self._members[replica] = _Member(replica)

    def leave(self, replica: str) -> None:
        """Drop a member that has stopped answering requests: nothing waits for it any more."""
        member = self._members.pop(replica, None)
        if member is None:
            return
        for future in member.waiting.values():
            if not future.done():
                future.set_result(None)

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

    def ack(self, replica: str, command: int, error: SwitchboardError | None) -> None:
        """Report that a command is done, or why it failed."""
        member = self._members.get(replica)
        future = member.waiting.pop(command, None) if member else None
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def names(self) -> list[str]:
        """The members, sorted."""
        return sorted(self._members)

    def send_all(
        self,
        kind: Kind,
        version: AdapterVersion | None = None,
        routes: tuple[Route, ...] = (),
        revision: Revision | None = None,
        limit_s: float = 0.0,
    ) -> dict[str, asyncio.Future[None]]:
        """Send a command to every member; returns what waits for each one's answer."""
        self._ids += 1
        command = Command(self._ids, kind, version, routes, revision, limit_s)
        return {id_: member.send(command) for id_, member in self._members.items()}

    async def gather(
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
                    await self.replace(replica)
                elif time.monotonic() > deadline:
                    del pending[replica]
                    failed[replica] = None
        return failed

    async def command(
        self, kind: Kind, *, routes: tuple[Route, ...] = (), revision: Revision | None = None
    ) -> int:
        """Have every member do something, replacing those that do not; how many did."""
        futures = self.send_all(kind, routes=routes, revision=revision)
        for replica in await self.gather(futures, self.lost_after_s):
            await self.replace(replica)  # it may still answer by the old one
        return sum(replica in self._members for replica in futures)

    async def wait_for_expected(self, timeout_s: float) -> None:
        """Wait until each expected replica has entered or is dead.

        Raises:
            RolloutFailed: Some have not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while self.expected:
            for replica in list(self.expected):
                if not await self._alive(replica):
                    self.expected.discard(replica)
            if self.expected and time.monotonic() > deadline:
                raise RolloutFailed(
                    f"Replicas have not reported since the coordinator restarted: "
                    f"{', '.join(sorted(self.expected))}. Nothing was switched."
                )
            if self.expected:
                await asyncio.sleep(CHECK_S)

    def _silent(self, replica: str) -> bool:
        member = self._members.get(replica)
        return member is None or time.monotonic() - member.seen > self.lost_after_s

    async def replace(self, replica: str) -> None:
        """Drop a member and kill it; its supervisor starts a fresh one."""
        self._members.pop(replica, None)
        await self._fence(replica)
