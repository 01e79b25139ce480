"""Pages of several replicas become one that Prometheus' own parser reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability.pages import STALE_S, Pages, labelled, merged

HOSTILE = 'a "quoted} {value" with \\ and \n and \u2028 and , x="1"'


def page(value: float, label: str = "care", *, more: bool = False) -> str:
    registry = CollectorRegistry()
    Counter("asked", "Asked.", ["lob"], registry=registry).labels(label).inc(value)
    Gauge("held", "Held.", registry=registry).set(value)
    Histogram("took_seconds", "Took.", ["lob"], registry=registry).labels(label).observe(value)
    if more:
        Gauge("extra", "Only here.", registry=registry).set(value)
    return generate_latest(registry).decode()


def read(text: str) -> dict[tuple[str, str, str], float]:
    """By name, replica and line."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "a metric comes twice"
    return {
        (one.name, one.labels["replica"], one.labels.get("lob", "")): one.value
        for family in families
        for one in family.samples
        if one.name.partition("_")[0] in {"asked", "held", "extra"}
    }


def test_each_sample_gets_the_replica_s_label() -> None:
    found = read(labelled(page(2), "r1"))
    assert found["asked_total", "r1", "care"] == 2
    assert found["held", "r1", ""] == 2
    assert {replica for _, replica, _ in found} == {"r1"}


def test_hostile_values_of_labels_survive() -> None:
    found = read(labelled(page(2, HOSTILE), HOSTILE))
    assert found["asked_total", HOSTILE, HOSTILE] == 2


def test_all_else_of_a_page_stays() -> None:
    text = page(2)
    heads = [line for line in text.splitlines() if line.startswith("#")]
    after = labelled(text, "r1")
    assert [line for line in after.splitlines() if line.startswith("#")] == heads
    assert after.replace(',replica="r1"', "").replace('{replica="r1"}', "") == text


def test_pages_become_one_with_each_metric_once() -> None:
    text = merged([labelled(page(1), "r1"), labelled(page(5, more=True), "r2")])
    found = read(text)
    assert found["asked_total", "r1", "care"] == 1
    assert found["asked_total", "r2", "care"] == 5
    assert found["extra", "r2", ""] == 5
    assert text.count("# TYPE took_seconds histogram") == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_replica_gets_the_others_pages() -> None:
    pages = Pages()
    assert pages.exchange("r2", "two") == []
    assert pages.exchange("r1", "one") == ["two"]
    assert pages.exchange("r3", "three") == ["one", "two"]


def test_a_replica_that_is_silent_falls_out() -> None:
    clock = Clock()
    pages = Pages(clock)
    pages.exchange("dead", "old")
    clock.now = STALE_S
    assert pages.exchange("r1", "one") == ["old"]
    clock.now = STALE_S + 0.1
    assert pages.exchange("r1", "one") == []
    assert pages.exchange("dead", "back") == ["one"]
