"""Of a page of all replicas' metrics, what people look at."""

from serving.console import series

PAGE = r"""# HELP switchboard_requests_queued Requests that wait for a place.
# TYPE switchboard_requests_queued gauge
switchboard_requests_queued{lob="care",replica="a"} 2.0
switchboard_requests_queued{lob="care",replica="b"} 3.0
switchboard_requests_queued{lob="",replica="a"} 1.0
switchboard_review_queue_depth{lob="care",replica="a"} 4.0
switchboard_review_queue_depth{lob="care",replica="b"} 4.0
switchboard_store_up{replica="a"} 1.0
switchboard_store_up{replica="b"} 0.0
switchboard_breaker_state{target="upstream:x",replica="b"} 2.0
switchboard_breaker_state{target="engine",replica="b"} 0.0
switchboard_requests_queued_not{lob="care",replica="a"} 100.0
vllm:something{replica="a"} 7.0
"""
SAMPLES = series.read(PAGE, {*series.OF_REPLICA, *series.OF_LINE, series.BREAKER})


def test_only_the_named_series_are_read() -> None:
    assert {one.name for one in SAMPLES} == {
        "switchboard_requests_queued",
        "switchboard_review_queue_depth",
        "switchboard_store_up",
        "switchboard_breaker_state",
    }


def test_a_lines_queues_are_summed_and_what_all_replicas_know_is_not() -> None:
    rows = series.by("lob", series.OF_LINE, SAMPLES)
    assert list(rows) == ["", "care"]
    assert (rows["care"]["queued"], rows["care"]["reviews"]) == (5.0, 4.0)
    assert rows[""]["queued"] == 1.0


def test_each_replica_has_its_row() -> None:
    rows = series.by("replica", series.OF_REPLICA, SAMPLES)
    assert {name: row["store_up"] for name, row in rows.items()} == {"a": 1.0, "b": 0.0}


def test_breakers_that_are_not_closed_are_alarms() -> None:
    assert series.open_breakers(SAMPLES) == [("b", "upstream:x")]


def test_a_page_without_them_is_no_sample() -> None:
    assert series.read("# nothing\n", series.OF_LINE) == []
