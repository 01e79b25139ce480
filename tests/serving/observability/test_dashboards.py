"""The Grafana dashboard and the alert rules ask only for metrics and labels that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from serving.observability import metrics

DOCKER = Path(__file__).parents[3] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/switchboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCKER / "prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
QUERIES = [
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
KNOWN = {
    one._name + suffix: {*one._labelnames, "replica"} | ({"le"} if suffix == "_bucket" else set())
    for one in vars(metrics).values()
    if isinstance(one, MetricWrapperBase)
    for suffix in SUFFIXES[one._type]
}
NAME = re.compile(r"\b(?:switchboard|gen_ai_server|vllm)[_:][a-z0-9_:]+\b")
WORDS = set("sum max min by rate increase absent histogram_quantile ignoring group_left le".split())


def asked(query: str) -> set[str]:
    return set(NAME.findall(query))


def labels(query: str) -> set[str]:
    """The labels that a query selects or groups by."""
    selected = re.findall(r"([a-z_]+)(?:=~|!~|!=|=)\"", query)
    groups = re.findall(r"(?:by|ignoring)\s*\(([^)]*)\)", query)
    return {*selected, *(name.strip() for group in groups for name in group.split(","))}


def balanced(query: str) -> bool:
    bare = re.sub(r'"[^"]*"', "", query)
    return all(bare.count(a) == bare.count(b) for a, b in ("()", "[]", "{}"))


def test_there_is_something_to_check() -> None:
    assert len(PANELS) >= 25
    assert len(RULES) >= 10
    assert len(KNOWN) > 40


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(title: str, query: str) -> None:
    names = asked(query)
    assert names, title
    assert names <= KNOWN.keys()
    there = set.union(*(KNOWN[name] for name in names))
    assert labels(query) <= there
    assert balanced(query)
    for name in names:
        if name.endswith(("_total", "_bucket", "_count")):
            inside = rf"(?:rate|increase)\s*\({re.escape(name)}|\({re.escape(name)}\)$"
            assert re.search(inside, query), f"{name} only grows: a rate of it is meant"
    strange = set(re.findall(r"\b([a-z_]+)\s*\(", query)) - WORDS
    assert not strange, "no function of PromQL that is used here"


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {name for _, query in QUERIES for name in asked(query)}
    ours = {
        one._name
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase) and one._name.startswith("switchboard_")
    }
    assert {name for name in ours if not any(one.startswith(name) for one in shown)} == set()


def test_the_dashboard_has_the_shape_that_grafana_imports() -> None:
    assert DASHBOARD["title"] == "Switchboard"
    assert DASHBOARD["schemaVersion"] >= 36
    ids = [one["id"] for one in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in DASHBOARD["panels"]}
    assert len(places) == len(ids), "panels lie on each other"
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
    (lines,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "lob"]
    assert asked(lines["query"]) <= KNOWN.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_has_the_shape_that_prometheus_reads(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Switchboard[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description"}
    used = set(re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"])))
    grouped = re.findall(r"by\s*\(([^)]*)\)", rule["expr"])
    given = {name.strip() for group in grouped for name in group.split(",")} or {"replica"}
    assert used <= given


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
