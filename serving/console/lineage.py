"""A line's versions as a tree: each below the one that it was trained on from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Version = Mapping[str, Any]


class Step(NamedTuple):
    """A version at its place in the tree; `depth` is 0 for what came from the base."""

    version: Version
    depth: int


def tree(versions: Sequence[Version]) -> list[Step]:
    """Put versions in the order of a tree, each right behind what it came from.

    Args:
        versions: Of one line, as `GET /v1/adapters` gives them: `name`, `number`, `parent`. One
            whose parent is not among them stands at the top.

    Returns:
        Every version once, siblings by number.
    """
    names = {version["name"] for version in versions}
    below: dict[str | None, list[Version]] = {}
    for version in sorted(versions, key=lambda one: one["number"]):
        parent = version["parent"]
        below.setdefault(parent if parent in names else None, []).append(version)
    steps: list[Step] = []
    waiting = [Step(one, 0) for one in reversed(below.get(None, []))]
    while waiting:
        step = waiting.pop()
        steps.append(step)
        children = below.get(step.version["name"], [])
        waiting += [Step(one, step.depth + 1) for one in reversed(children)]
    return steps
