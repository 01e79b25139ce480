"""Which lines of business a key asks about."""

from collections.abc import Callable

from serving.auth import ApiKey
from serving.errors import NotFound, PermissionDenied
from serving.routing import Table


def asked(key: ApiKey, table: Callable[[], Table], lob: str | None) -> list[str]:
    """Return the lines of a key, or the one that is asked for.

    Raises:
        NotFound: There is no such line.
        PermissionDenied: The key does not cover it.
    """
    known = sorted(table().lobs)
    if lob is None:
        return [one for one in known if key.allows_lob(one)]
    if not key.allows_lob(lob):
        raise PermissionDenied(f"This key does not cover {lob[:64]}.", param="lob")
    if lob not in known:
        raise NotFound(f"There is no line of business {lob[:64]}.", param="lob")
    return [lob]
