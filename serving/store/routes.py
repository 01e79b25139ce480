"""Routes: which version answers for each line of business, now and before."""

import time
from enum import Enum
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.errors import Conflict, InvalidRequest, NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.records import Action, Rollout, Route, State
from serving.store.tables import AdapterVersionRow, RolloutRow, RouteRow


class Keep(Enum):
    """Says that a field stays as it is, where None means the base model or no canary."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


async def get_all(db: Database) -> dict[str, Route]:
    """Return the route of each line of business that ever had one."""
    async with db.reader() as connection:
        rows = (await connection.execute(select(RouteRow).order_by(RouteRow.lob))).mappings().all()
        past = (await connection.execute(select(RolloutRow).order_by(RolloutRow.id))).mappings()
        rollouts = [Rollout.model_validate(dict(row)) for row in past]
    found = (Route.model_validate(dict(row)) for row in rows)
    return {route.lob: _with_previous(route, rollouts) for route in found}


async def switch(
    db: Database,
    lob: str,
    *,
    live: str | Keep | None = KEEP,
    canary: str | Keep | None = KEEP,
    share: float | Keep = KEEP,
    action: Action | str,
    key_id: str | None = None,
    force: bool = False,
) -> Route:
    """Change a route in one transaction: itself, the versions' states, the history, the audit.

    A version that becomes live stops being the canary. A switch that changes nothing writes
    nothing, and returns the route as it is.

    Raises:
        NotFound: There is no such version of this line of business.
        Conflict: A version is rejected (and `force` is not set), or live and canary at once.
        InvalidRequest: A canary's share is not between 0 and 1.
    """
    async with db.session() as connection:
        old = await _lock(db, connection, lob)
        new = _changed(old, live, canary, share)
        if new == old:
            return await _read_previous(connection, old)
        for name in {new.live, new.canary} - {old.live, old.canary, None}:
            await _check(connection, lob, name, force)
        new = new.model_copy(update={"epoch": old.epoch + 1})
        await connection.execute(update(RouteRow).where(RouteRow.lob == lob).values(_row(new)))
        await _set_states(connection, old, new)
        await _note(connection, Action(action), old, new, key_id)
        return await _read_previous(connection, new)


async def history(db: Database, lob: str | None = None) -> list[Rollout]:
    """Return what happened to the routes, oldest first."""
    statement = select(RolloutRow).order_by(RolloutRow.id)
    if lob is not None:
        statement = statement.where(RolloutRow.lob == lob)
    async with db.reader() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [Rollout.model_validate(dict(row)) for row in rows]


async def record_seconds(db: Database, lob: str, epoch: int, seconds: float) -> None:
    """Note how long a rollout took, from the request to the last replica's flip."""
    mine = (RolloutRow.lob == lob) & (RolloutRow.epoch == epoch)
    async with db.session() as connection:
        await connection.execute(update(RolloutRow).where(mine).values(seconds=seconds))


def previous_live(rollouts: list[Rollout]) -> str | None:
    """Return what a rollback leads to: the version before the live one, None for the base.

    Promotions pile up and rollbacks take away, so that rolling back twice goes two steps back
    and not to and fro.
    """
    pile: list[str | None] = [None]
    for rollout in rollouts:
        if rollout.action == Action.PROMOTE and rollout.to_version != pile[-1]:
            pile.append(rollout.to_version)
        elif rollout.action == Action.ROLLBACK:
            while len(pile) > 1 and pile[-1] != rollout.to_version:
                pile.pop()
    return pile[-2] if len(pile) > 1 else None


def _with_previous(route: Route, rollouts: list[Rollout]) -> Route:
    """The route with what a rollback leads to; a rollout newer than the route is not its past."""
    past = [r for r in rollouts if r.lob == route.lob and r.epoch <= route.epoch]
    return route.model_copy(update={"previous": previous_live(past)})


async def _read_previous(connection: AsyncConnection, route: Route) -> Route:
    statement = select(RolloutRow).where(RolloutRow.lob == route.lob).order_by(RolloutRow.id)
    rows = (await connection.execute(statement)).mappings()
    return _with_previous(route, [Rollout.model_validate(dict(row)) for row in rows])


def _row(route: Route) -> dict[str, object]:
    return route.model_dump(exclude={"previous"})


async def _lock(db: Database, connection: AsyncConnection, lob: str) -> Route:
    """Return a route that nobody else changes before this transaction ends."""
    empty = db.insert(RouteRow).values(_row(Route(lob=lob)))
    await connection.execute(empty.on_conflict_do_nothing())
    statement = select(RouteRow).where(RouteRow.lob == lob).with_for_update()
    return Route.model_validate(dict((await connection.execute(statement)).mappings().one()))


def _changed(
    old: Route, live: str | Keep | None, canary: str | Keep | None, share: float | Keep
) -> Route:
    new_live = old.live if isinstance(live, Keep) else live
    new_canary = old.canary if isinstance(canary, Keep) else canary
    if isinstance(canary, Keep) and new_canary == new_live:
        new_canary = None
    if new_canary is None:
        return old.model_copy(update={"live": new_live, "canary": None, "canary_share": 0.0})
    if new_canary == new_live:
        raise Conflict(f"{new_canary} cannot be live and canary at once")
    new_share = old.canary_share if isinstance(share, Keep) else share
    if not 0 < new_share < 1:
        raise InvalidRequest(f"a canary's share is between 0 and 1, not {new_share}", param="share")
    changes = {"live": new_live, "canary": new_canary, "canary_share": new_share}
    return old.model_copy(update=changes)


async def _check(connection: AsyncConnection, lob: str, name: str | None, force: bool) -> None:
    statement = (
        select(AdapterVersionRow.lob, AdapterVersionRow.state)
        .where(AdapterVersionRow.name == name)
        .with_for_update()
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None or row.lob != lob:
        raise NotFound(f"{lob} has no version {name}", param="version")
    if row.state == State.REJECTED and not force:
        raise Conflict(f"{name} was rejected by the gate; use force to release it all the same")


async def _set_states(connection: AsyncConnection, old: Route, new: Route) -> None:
    states = {old.canary: State.CANDIDATE, old.live: State.RETIRED}
    states |= {new.canary: State.CANARY, new.live: State.LIVE}
    for name, state in states.items():
        if name is not None:
            mine = AdapterVersionRow.name == name
            await connection.execute(update(AdapterVersionRow).where(mine).values(state=state))


async def _note(
    connection: AsyncConnection, action: Action, old: Route, new: Route, key_id: str | None
) -> None:
    of_canary = action in (Action.CANARY, Action.CANCEL_CANARY)
    rollout = {
        "lob": new.lob,
        "action": action,
        "from_version": old.canary if of_canary else old.live,
        "to_version": new.canary if of_canary else new.live,
        "share": new.canary_share if new.canary else None,
        "epoch": new.epoch,
        "key_id": key_id,
        "created_at": time.time(),
    }
    await connection.execute(insert(RolloutRow).values(rollout))
    detail = {key: rollout[key] for key in ("from_version", "to_version", "share", "epoch")}
    await audit.append(connection, key_id, action, new.lob, detail)
