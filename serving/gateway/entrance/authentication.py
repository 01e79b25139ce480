"""Who asks, by the key in the request's head."""

from collections.abc import Mapping

from serving.auth import ApiKey, KeyRing
from serving.errors import Unauthenticated

ANYONE = ApiKey.anonymous()
"""Who calls where authentication is off or not needed."""


async def known(headers: Mapping[bytes, bytes], keys: KeyRing, enabled: bool) -> ApiKey:
    """Return the key in force that a request names.

    Args:
        headers: Its head.
        keys: The keys in force.
        enabled: Whether keys are asked for; else it is anyone.

    Raises:
        Unauthenticated: It names none, or one that is not in force.
        StoreUnavailable: The key is not in memory, and the store is down.
    """
    if not enabled:
        return ANYONE
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if not token or scheme.lower() != "bearer":
        keys.refuse("missing")
        raise Unauthenticated(
            "No API key. Send `Authorization: Bearer sb-…`; make one with "
            "`switchboard keys create`."
        )
    key = keys.lookup(token) or await keys.find(token)
    if key is None:
        keys.refuse("unknown")
        raise Unauthenticated("The API key is unknown, expired or revoked.")
    return key
