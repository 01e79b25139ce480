"""May this key ask for this line of business, and for this version."""

from serving.adapters.manager import AdapterManager
from serving.auth import BASE, Role
from serving.errors import PermissionDenied
from serving.gateway.exchange import Exchange


async def check(exchange: Exchange, adapters: AdapterManager) -> None:
    """Check the line of business, and the state of a version that the client pinned.

    The base asked by its own name is a grant of its own; where it answers a task, or for a line
    that has no version yet, it is the line's. Versions that the gate has not passed answer only
    those who train and administer.

    Raises:
        PermissionDenied: The key does not cover it.
    """
    key, model = exchange.key, exchange.request.model
    if exchange.lob and not key.allows_lob(exchange.lob):
        raise PermissionDenied(f"This key does not cover {exchange.lob}.", param="model")
    if exchange.lob is None and not key.allows_base:
        raise PermissionDenied(
            f"This key does not cover {model} by its own name: ask a line of business, or make "
            f"a key with `--lob {BASE}`.",
            param="model",
        )
    table = adapters.table
    if not table.pins(model) or model in table.serving() or key.allows(Role.TRAINER):
        return
    version = await adapters.describe(model)
    if version.state in {"candidate", "rejected"}:
        raise PermissionDenied(
            f"{model} is {version.state}: only trainer and admin keys may call it.",
            param="model",
        )
