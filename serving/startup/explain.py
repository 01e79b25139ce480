"""`switchboard explain`: what led to an answer, and what became of it."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console

from serving.config import settings as settings_module
from serving.startup.keys import DEFAULT_CONFIG, Config, when
from serving.terminal import Json, print_json


def explain(
    response: Annotated[str, typer.Argument(metavar="RESPONSE_ID", help="The response's id.")],
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Say what answered, and why: its version, how that came to be, what was found and decided."""
    found = asyncio.run(_explained(config, response))
    if json_:
        print_json(found)
        return
    console = Console(soft_wrap=True)
    for line in lines(found):
        console.print(line, markup=False, highlight=False)


def lines(found: dict[str, Any]) -> list[str]:
    """Return an explanation as a person reads it.

    Args:
        found: As `serving.rollout.explanation.explain` gives it.
    """
    who = found["rule"] or found["version"] or f"the base ({found['base_model']})"
    head = f"{found['id']}: {found['task']} of {found['lob'] or 'no line'}"
    said = [
        f"{head}, {when(found['created_at'])}",
        f"Answered by: {who}" + (" (a rule; no model was asked)" if found["rule"] else ""),
        f"Prompt: {found['prompt']['name'] or 'none'} {found['prompt']['hash'] or ''}".rstrip(),
    ]
    said += [
        f"Step: {' '.join(str(value) for value in step.values() if value is not None)}"
        for step in found["steps"]
    ]
    said += [
        f"Passage: {one['id']} ({one['title']}), version {one['version']}, {one['score']}"
        for one in found["passages"]
    ]
    if made := found["made"]:
        said += _made(made)
    for one in found["guards"]:
        said.append(f"Guard: {one['guard']}: {one['kind']}, {one['action']}, {one['score']}")
    if not found["guards"]:
        said.append("Guards: nothing found")
    if review := found["review"]:
        by = (
            f" by {review['decided_by']}, {when(review['decided_at'])}"
            if review["decided_by"]
            else ""
        )
        said.append(f"Review: {review['id']}: {review['status'] or 'not kept any more'}{by}")
    else:
        said.append("Review: none")
    return said


def _made(made: dict[str, Any]) -> list[str]:
    erased = (
        f"; {made['erased_rows']} of its interactions are erased" if made["erased_rows"] else ""
    )
    said = [
        f"Version: {made['version']}, {made['state']}, from {made['parent'] or 'the base'}",
        f"Dataset: {made['dataset'] or 'none (imported)'}{erased}",
    ]
    for title in ("gate", "canary"):
        word = made[title]
        if not word:
            said.append(f"{title.capitalize()}: not asked")
            continue
        verdict = word.get("why") or ("accepted" if word.get("accepted") else "rejected")
        said.append(f"{title.capitalize()}: {verdict}")
        said += [
            f"  {'+' if reason['passed'] else '-'} {reason['text']}"
            for reason in word.get("reasons", ())
        ]
    for one in made["rollouts"]:
        share = f" for {one['share']:.0%}" if one["share"] else ""
        by = one["key_id"] or "the server"
        said.append(f"Rollout: {one['action']}{share} by {by}, {when(one['created_at'])}")
    for one in made["audit"]:
        by = one["key_id"] or "the command line"
        said.append(f"Audit: {one['action']} by {by}, {when(one['created_at'])}")
    return said


async def _explained(config: Any, response: str) -> dict[str, Any]:
    from serving.rollout import explanation
    from serving.store.database import Database

    db = Database(settings_module.load(config).store_address)
    await db.open()
    try:
        return await explanation.explain(db, response)
    finally:
        await db.close()
