"""Who may ask our own endpoints for what."""

from typing import Annotated, Any

from fastapi import Query

from serving.auth import ApiKey, Role
from serving.errors import PermissionDenied
from serving.store.records import InteractionRecord, Json
from serving.store.reviews.records import held_as

Reason = Annotated[str | None, Query(min_length=1, max_length=1000)]
"""Why something is read; the audit keeps it."""


def need(key: ApiKey, *roles: Role) -> None:
    """Refuse a key that has none of these roles.

    Raises:
        PermissionDenied: It has none.
    """
    if not any(key.allows(role) for role in roles):
        names = " or ".join(roles)
        raise PermissionDenied(f"This needs a key with the role {names}.")


def scope(key: ApiKey, interaction: InteractionRecord, lob: str | None = None) -> None:
    """Refuse an interaction that a key does not cover, or that is not of the line named.

    Raises:
        PermissionDenied: It is another's.
    """
    if interaction.lob is None:
        mine = interaction.key_id == (key.id or None)
        if not mine and not (key.allows_base and key.allows(Role.REVIEWER)):
            raise PermissionDenied("This interaction with the base model belongs to another key.")
    elif not key.allows_lob(interaction.lob):
        raise PermissionDenied("This key does not cover the interaction's line of business.")
    if lob is not None and lob != interaction.lob:
        raise PermissionDenied(
            f"The interaction belongs to {interaction.lob or 'no line of business'}, not {lob}.",
            param="lob",
        )


def undecided(key: ApiKey, interaction: InteractionRecord) -> None:
    """Refuse feedback on an answer that was held: its client saw the fallback text, not it.

    Raises:
        PermissionDenied: It was held, and the key is no reviewer's.
    """
    if held_as(interaction.guards) is not None and not key.allows(Role.REVIEWER):
        raise PermissionDenied(
            "The answer was held for a person's review: the decision is its feedback.", param="id"
        )


def shown_to(key: ApiKey, interaction: InteractionRecord) -> dict[str, Any]:
    """Return an interaction as a key may read it: what was held only with the role reviewer."""
    shown = interaction.model_dump(mode="json")
    if held_as(interaction.guards) is not None and not key.allows(Role.REVIEWER):
        shown |= {"response": {}, "output": ""}
    return shown


def read_of(lob: str | None, reason: str | None) -> Json:
    """Return what the audit says of a read."""
    return {"lob": lob} | ({"reason": reason} if reason is not None else {})
