"""Live work before batch work, and no caller before its turn."""

from typing import Any

import pytest

from serving.admission.priority import Priorities, sequences
from serving.errors import InvalidRequest

PRIORITIES = Priorities({"summary": 10})


@pytest.mark.parametrize(
    ("task", "asked", "trusted", "expected"),
    [
        ("suggestion", None, False, 0),
        ("summary", None, False, 10),
        ("chat", -5, False, 0),
        ("summary", 0, False, 10),
        ("chat", 7, False, 7),
        ("chat", -5, True, -5),
        ("summary", 0, True, 0),
    ],
)
def test_only_trusted_callers_go_before_their_task(
    task: str, asked: int | None, trusted: bool, expected: int
) -> None:
    assert PRIORITIES.of(task, asked, trusted=trusted) == expected


@pytest.mark.parametrize("asked", ["-5", 1.5, True, [0]])
def test_priority_that_is_no_integer_is_refused(asked: Any) -> None:
    with pytest.raises(InvalidRequest, match="integer"):
        PRIORITIES.of("chat", asked, trusted=True)


@pytest.mark.parametrize(
    ("priority", "level"), [(-(2**63), 0), (0, 0), (9, 0), (10, 1), (2**63, 1)]
)
def test_any_priority_falls_into_a_configured_level(priority: int, level: int) -> None:
    assert PRIORITIES.levels == 2
    assert PRIORITIES.level(priority) == level


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, 1),
        ({"n": 4}, 4),
        ({"n": None}, 1),
        ({"n": 2, "best_of": 5}, 5),
        ({"prompt": "hello"}, 1),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
    ],
)
def test_sequences_are_prompts_times_n(request_: dict[str, Any], expected: int) -> None:
    assert sequences(request_) == expected
