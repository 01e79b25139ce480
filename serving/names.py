"""The grammar of names: a line of business (`care`), a version of its adapter (`care@7`)."""

import re

from serving.errors import InvalidRequest

LOB = re.compile(r"[a-z][a-z0-9_-]{0,31}")
PREVIOUS, BASE = "previous", "base"
"""Steps of a fallback chain beside upstreams."""

_VERSION = re.compile(rf"({LOB.pattern})@([1-9][0-9]{{0,8}})")


def valid_lob(name: str) -> bool:
    """Whether `name` may name a line of business: ``[a-z][a-z0-9_-]{0,31}``."""
    return LOB.fullmatch(name) is not None


def version_name(lob: str, number: int) -> str:
    """Return the name of a version, such as ``care@7``.

    Raises:
        InvalidRequest: There can be no such version.
    """
    name = f"{lob}@{number}"
    parse_version(name)
    return name


def parse_version(name: str) -> tuple[str, int]:
    """Split ``care@7`` into the line of business and the number.

    Raises:
        InvalidRequest: `name` is not of this form.
    """
    match = _VERSION.fullmatch(name)
    if match is None:
        raise InvalidRequest(f"{name!r} is no adapter version: write it as care@7")
    return match[1], int(match[2])


def is_version_of(lob: str, name: str) -> bool:
    """Whether `name` names a version of this line of business."""
    match = _VERSION.fullmatch(name)
    return match is not None and match[1] == lob
