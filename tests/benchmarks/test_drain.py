from pathlib import Path

import drain
import pytest

from serving.capture.interaction import to_record


def run(number: int, way: str, cpu_ms: float, calls: int) -> dict[str, object]:
    cell = {"round": number, "store": "sqlite", "rate": 5.0, "way": way}
    return cell | {"cpu_ms": cpu_ms, "records": 10, "calls": calls}


RUNS = [
    *(run(0, "none", 10, 0), run(0, "polls", 40, 10), run(0, "polls_again", 43, 10)),
    *(run(0, "batches", 16, 2), run(1, "none", 20, 0), run(1, "polls", 60, 10)),
    *(run(1, "polls_again", 60, 10), run(1, "batches", 24, 2)),
]


def test_the_load_itself_is_taken_off_before_ways_are_compared_within_a_round():
    found = drain.ratios(RUNS)
    assert found["batches_vs_polls_sqlite_5_per_s"] == {
        "median": 0.15,
        "min": 0.1,
        "max": 0.2,
        "rounds": 2,
    }
    assert found["polls_again_vs_polls_sqlite_5_per_s"]["max"] == 1.1
    assert drain.figures(RUNS)["sqlite_5_per_s_batches"] == {
        "cpu_ms_per_record": 0.5,
        "records_per_call": 5.0,
    }


def test_arrivals_are_the_same_for_the_same_seed_and_come_at_the_rate():
    times = drain.arrivals(100, 100, seed=1)
    assert times == drain.arrivals(100, 100, seed=1) == sorted(times)
    assert times != drain.arrivals(100, 100, seed=2)
    assert 9_000 < len(times) < 11_000


def test_the_load_is_an_interaction_as_the_gateway_captures_it():
    record = to_record(drain.payload())
    assert record.output.endswith("token47")
    assert record.status == "completed"


@pytest.mark.parametrize("way", drain.WAYS)
async def test_every_way_stores_what_arrives_but_the_one_without_a_drainer(
    tmp_path: Path, way: str
):
    done = await drain.measure(f"sqlite:///{tmp_path}/s.sqlite", way, drain.arrivals(50, 0.2, 3))
    assert done["records"] > 0
    assert (done["calls"] > 0) == (way != "none")


def test_an_unknown_store_is_named():
    with pytest.raises(SystemExit, match="oracle"), drain.stores(["oracle"]):
        pass
