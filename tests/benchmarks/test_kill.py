from typing import Any

import kill


def drill(name: str, failed: int, last_s: float | None, gap_s: float, lost: int) -> dict[str, Any]:
    return {
        "drill": name,
        "calls": 100,
        "failed_total": failed,
        "last_failure_s": last_s,
        "longest_gap_between_answers_s": gap_s,
        "interactions_acknowledged": 60,
        "interactions_lost": lost,
        "feedback_acknowledged": 40,
        "feedback_lost": 0,
        "feedback_twice": 0,
    }


def test_drills_are_summed_up_by_what_was_killed() -> None:
    found = kill.summary(
        [
            drill("replica", 3, 1.5, 0.4, 0),
            drill("haproxy", 0, None, 0.1, 0),
            drill("replica", 0, None, 0.2, 1),
            drill("replica", 5, 2.5, 0.9, 0),
        ]
    )
    assert list(found) == ["replica", "haproxy"]
    replica = found["replica"]
    assert (replica["times"], replica["calls"], replica["failed"]) == (3, 300, 8)
    assert (replica["failed_most_in_one"], replica["without_a_failure"]) == (5, 1)
    assert replica["failing_s"] == {"median": 1.5, "max": 2.5}
    assert replica["gap_s"] == {"median": 0.4, "max": 0.9}
    assert (replica["acknowledged"], replica["lost"]) == (300, 1)
    assert found["haproxy"]["failing_s"] == {"median": 0.0, "max": 0.0}
