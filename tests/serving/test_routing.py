"""Routing: aliases, pins, canaries, and tables that only move forward."""

import pytest

from serving.errors import NotFound, SwitchboardError
from serving.routing import Table
from serving.store.records import Route


def table(**routes: Route) -> Table:
    return Table("base", ["care", "sales"], routes)


def test_base_name_routes_to_base() -> None:
    target = table().resolve("base", "c1")
    assert (target.version, target.lob, target.pinned) == ("base", None, True)


def test_lob_without_adapter_is_answered_by_base() -> None:
    target = table().resolve("care", "c1")
    assert (target.version, target.lob, target.pinned) == ("base", "care", False)


def test_lob_is_answered_by_its_live_version() -> None:
    routes = table(care=Route(lob="care", live="care@3", epoch=1))
    assert routes.resolve("care", "c1").version == "care@3"
    assert routes.resolve("sales", "c1").version == "base"


def test_pinned_version_ignores_live_and_canary() -> None:
    route = Route(lob="care", live="care@3", canary="care@4", canary_share=1.0, epoch=1)
    target = table(care=route).resolve("care@2", "c1")
    assert (target.version, target.lob, target.pinned) == ("care@2", "care", True)


@pytest.mark.parametrize(
    "name",
    [
        "billing",
        "billing@1",
        "",
        "@1",
        "base@1",
        "care@",
        "care@x",
        "care@0",
        "care@../../etc/passwd",
        "care@1/..",
        "care@-1",
        "CARE",
    ],
)
def test_unknown_or_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(SwitchboardError) as refused:
        table().resolve(name, "c1")
    assert 400 <= refused.value.status < 500


def test_unknown_model_says_where_to_look() -> None:
    with pytest.raises(NotFound, match="/v1/models"):
        table().resolve("gpt-4", "c1")


def test_canary_keeps_a_conversation_on_one_side() -> None:
    route = Route(lob="care", live="care@3", canary="care@4", canary_share=0.5, epoch=1)
    routes = table(care=route)
    for conversation in map(str, range(200)):
        answers = {routes.resolve("care", conversation).version for _ in range(5)}
        assert len(answers) == 1


def test_canary_gets_about_its_share() -> None:
    route = Route(lob="care", live="care@3", canary="care@4", canary_share=0.1, epoch=1)
    routes = table(care=route)
    versions = [routes.resolve("care", f"conversation-{i}").version for i in range(20_000)]
    assert 0.09 < versions.count("care@4") / len(versions) < 0.11


def test_a_request_outside_conversations_never_meets_a_canary() -> None:
    route = Route(lob="care", live="care@3", canary="care@4", canary_share=0.99, epoch=1)
    assert table(care=route).resolve("care", "").version == "care@3"


def test_older_epoch_changes_nothing() -> None:
    new = table(care=Route(lob="care", live="care@5", epoch=7))
    assert (
        new.updated([Route(lob="care", live="care@4", epoch=6)]).resolve("care", "c").version
        == "care@5"
    )
    assert (
        new.updated([Route(lob="care", live="care@6", epoch=8)]).resolve("care", "c").version
        == "care@6"
    )


def test_serving_lists_what_an_alias_can_lead_to() -> None:
    routes = table(
        care=Route(lob="care", live="care@3", canary="care@4", canary_share=0.1, epoch=1),
        sales=Route(lob="sales", epoch=1),
    )
    assert routes.serving() == {"care@3", "care@4"}


def test_a_model_s_line_and_whether_it_is_pinned_are_known_before_a_version_is_chosen() -> None:
    table = Table("base", ["care"], {})
    assert [table.lob_of(model) for model in ("base", "care", "care@7")] == [None, "care", "care"]
    assert [table.pins(model) for model in ("base", "care", "care@7")] == [False, False, True]
    with pytest.raises(NotFound):
        table.lob_of("sales")
