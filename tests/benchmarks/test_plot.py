from pathlib import Path

import plot
import results

from tests.benchmarks.test_results import row


def test_a_point_is_the_median_of_its_rounds():
    rows = [row(round=n, concurrency=8, seconds=s) for n, s in enumerate([1.0, 9.0, 2.0])]
    rows.append(row(concurrency=1, seconds=4.0))
    assert plot.medians(rows, "seconds") == [(1, 4.0), (8, 2.0)]


def test_the_table_alone_is_enough_to_draw(tmp_path: Path):
    rows = [
        row(target=target, workload=workload, concurrency=concurrency)
        for target in ("vllm", "switchboard", "litellm")
        for workload in ("suggest", "adapters")
        for concurrency in (1, 32)
    ]
    results.write_table(tmp_path / results.TABLE, rows)
    plot.draw(tmp_path)
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_table_nothing_is_drawn(tmp_path: Path):
    plot.draw(tmp_path)
    assert list(tmp_path.iterdir()) == []
