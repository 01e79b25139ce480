"""The benchmark of batches: its requests, its file, its figures."""

import io

import batch
import pytest

from serving.files import lines


def test_its_file_is_a_batch_of_requests_that_share_no_beginning() -> None:
    requests = batch.bodies(30, "x") + batch.bodies(30, "y")
    file = io.BytesIO(batch.lines(requests))
    found = lines.examine("batch", lines.bounded(file, 4096), 4096)
    assert (found.lines, found.urls, found.faults) == (60, {batch.URL}, [])
    beginnings = {one["messages"][0]["content"].partition(":")[0] for one in requests}
    assert len(beginnings) == 60


def test_a_quantile_is_a_time_that_was_seen() -> None:
    times = [float(i) for i in range(1, 101)]
    assert (batch.quantile(times, 0.5), batch.quantile(times, 0.99)) == (50.0, 99.0)
    assert batch.quantile([7.0], 0.99) == 7.0


def test_throughput_is_to_live_and_latency_to_no_batch() -> None:
    rounds = [{"batch": 10.0, "live": 5.0}, {"batch": 10.0, "live": 20.0}]
    found = batch.summary(rounds, [0.1] * 100, [0.1] * 98 + [0.3] * 2)
    assert found["batch_to_live_throughput"] == pytest.approx(1)
    assert found["batch_to_live_throughput_rounds"] == [0.5, 2.0]
    assert (found["p50_ratio"], found["p99_ratio"]) == (1, 3)
    assert found["live_requests"] == {"alone": 100, "beside_batch": 100}
