"""Names and help texts by Prometheus' rules (https://prometheus.io/docs/practices/naming/)."""

import re
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from serving.observability import metrics

ALL: dict[str, Any] = {
    name: one for name, one in vars(metrics).items() if isinstance(one, MetricWrapperBase)
}
PREFIXES = ("switchboard_", "gen_ai_server_")
NOT_BASE = re.compile(r"_(ms|millis\w*|micros\w*|minutes|hours|kb|mb|kib|mib|percent)(_|$)")


def samples(metric: Any) -> set[str]:
    """What its samples are called, of a child where it has labels."""
    child = metric.labels(*["x"] * len(metric._labelnames)) if metric._labelnames else metric
    try:
        return {metric._name + sample.name for sample in child._child_samples()}
    finally:
        if metric._labelnames:
            metric.remove(*["x"] * len(metric._labelnames))


def test_the_walk_finds_the_metrics() -> None:
    assert len(ALL) >= 29
    assert len({metric._name for metric in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_a_metric_is_named_by_the_rules(metric: Any) -> None:
    name = metric._name
    assert name.startswith(PREFIXES)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert not NOT_BASE.search(name), "base units: seconds, bytes"
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric._labelnames)
    assert not {"replica", "le", "quantile", "job", "instance"} & set(metric._labelnames)


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_a_metric_s_samples_end_as_its_type_asks(metric: Any) -> None:
    counts = {name for name in samples(metric) if not name.endswith("_created")}
    if metric._type == "counter":
        assert counts == {f"{metric._name}_total"}
    elif metric._type == "histogram":
        assert metric._name.endswith(("_seconds", "_ratio")), "ours are times, and shares of 1"
    else:
        assert metric._type == "gauge"
        assert not metric._name.endswith("_total")


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_a_metric_says_what_it_is(metric: Any) -> None:
    text = metric._documentation
    assert text[0].isupper()
    assert text.endswith((".", ")"))
    assert len(text.split()) >= 2


def test_the_conventions_metrics_are_there() -> None:
    assert {metric._name for metric in ALL.values() if metric._name.startswith("gen_ai")} == {
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
    }
