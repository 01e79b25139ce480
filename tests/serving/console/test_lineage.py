"""Each version stands right behind what it came from."""

from typing import Any

from serving.console.lineage import tree


def version(number: int, parent: int | None) -> dict[str, Any]:
    name = None if parent is None else f"care@{parent}"
    return {"name": f"care@{number}", "number": number, "parent": name}


def shown(*versions: dict[str, Any]) -> list[tuple[int, int]]:
    return [(step.version["number"], step.depth) for step in tree(versions)]


def test_children_follow_their_parent_by_number() -> None:
    found = shown(version(4, 1), version(1, None), version(2, 1), version(3, 2), version(5, None))
    assert found == [(1, 0), (2, 1), (3, 2), (4, 1), (5, 0)]


def test_a_version_whose_parent_is_not_there_stands_at_the_top() -> None:
    assert shown(version(7, 6), version(8, 7)) == [(7, 0), (8, 1)]


def test_a_long_lineage_is_no_recursion() -> None:
    found = shown(*(version(n, n - 1 if n > 1 else None) for n in range(1, 3000)))
    assert found[-1] == (2999, 2998)


def test_nothing_is_no_tree() -> None:
    assert tree([]) == []
