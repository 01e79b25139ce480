"""Adapter versions: where each came from, what judged it, who released it; and releases.

A release is two steps, a page that says what will happen and the form on it. The API refuses what a
key may not; the pages do not show it.
"""

from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from serving import endpoints
from serving.auth import KeyRing, Role
from serving.console.frame import Frame, Visit
from serving.console.lineage import tree
from serving.errors import InvalidRequest, NotFound, PermissionDenied
from serving.store import audit
from serving.store.records import AuditEntry

PAGE = f"{endpoints.CONSOLE}/adapters"
ACTIONS = ("promote", "canary", "rollback")
SHOWN = 100
"""Entries of the audit that a version's page shows, the newest."""


def routes(frame: Frame, keys: KeyRing) -> list[Route]:
    """Return the routes.

    Args:
        frame: What pages are made with.
        keys: Says how a key is called.
    """

    async def lines(visit: Visit) -> Response:
        found = (await visit.api.get(endpoints.ADAPTERS))["data"]
        by_line: dict[str, list[dict[str, Any]]] = {}
        for version in found:
            by_line.setdefault(version["lob"], []).append(version)
        trees = {lob: tree(versions) for lob, versions in sorted(by_line.items())}
        return frame.pages.show("adapters", visit.visitor, trees=trees, admin=_admin(visit))

    async def version(visit: Visit) -> Response:
        found = await _version(visit)
        entries = await _acts(frame, found) if _admin(visit) else []
        acts = [(entry, _who(keys, entry)) for entry in reversed(entries)]
        return frame.pages.show(
            "adapter",
            visit.visitor,
            version=found,
            canary=found["metrics"].get("canary"),
            acts=acts[:SHOWN],
            admin=_admin(visit),
        )

    async def confirm(visit: Visit) -> Response:
        action = _action(visit)
        return frame.pages.show(
            "adapter-confirm", visit.visitor, version=await _version(visit), action=action
        )

    async def act(visit: Visit) -> Response:
        action, found = _action(visit), await _version(visit)
        body: dict[str, Any] = {"force": "force" in visit.form}
        target = found["name"]
        if action == "canary":
            body["share"] = _share(visit.form.get("share", ""))
        elif action == "rollback":
            target = found["lob"]
            body = {"canary": found["name"]} if found["state"] == "canary" else {}
        await visit.api.post(endpoints.ADAPTERS, target, action, body=body)
        return RedirectResponse(f"{PAGE}/{quote(found['name'])}", 303)

    return [
        frame.route("adapters", lines),
        frame.route("adapters", version, "/{name}"),
        frame.route("adapters", confirm, "/{name}/{action}"),
        frame.route("adapters", act, "/{name}/{action}", "POST"),
    ]


def _admin(visit: Visit) -> bool:
    return visit.visitor.key.allows(Role.ADMIN)


def _action(visit: Visit) -> str:
    action = visit.path["action"]
    if action not in ACTIONS:
        raise NotFound("There is no such page.")
    if not _admin(visit):
        raise PermissionDenied("This needs a key with the role admin.")
    return action


async def _version(visit: Visit) -> dict[str, Any]:
    """A version of the key's lines."""
    name = visit.path["name"]
    lob = name.partition("@")[0]
    found: list[dict[str, Any]] = (await visit.api.get(endpoints.ADAPTERS, lob=lob))["data"]
    for one in found:
        if one["name"] == name:
            return one
    raise NotFound(f"There is no version {name[:64]}.")


def _share(percent: str) -> float:
    """A canary's share of conversations, of what was typed in percent."""
    try:
        share = float(percent) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:  # nor NaN
        raise InvalidRequest("The share is a number of percent, above 0 and below 100.")
    return share


async def _acts(frame: Frame, version: dict[str, Any]) -> list[AuditEntry]:
    """What the audit holds of a version: its own entries, and the rollouts from and to it."""
    own = await audit.of(frame.db, version["name"])
    of_line = await audit.of(frame.db, version["lob"])
    ends = ("from_version", "to_version")
    moved = [e for e in of_line if version["name"] in [e.detail.get(end) for end in ends]]
    return sorted([*own, *moved], key=lambda entry: entry.id)


def _who(keys: KeyRing, entry: AuditEntry) -> str:
    """How the key of an entry is called, or its id where it is not in force; "": the server."""
    if entry.key_id is None:
        return ""
    key = keys.of_id(entry.key_id)
    return entry.key_id if key is None else f"{key.name} ({key.id})"
