"""Fallback chains: which steps, in which order, and what makes the next one be tried."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequest
from serving.fallback import policy
from serving.fallback.policy import Step
from serving.routing import Table
from serving.store.records import Route

CHAIN = ["previous", "base", "upstream:big"]
LIVE = Route(lob="care", live="care@3", previous="care@2", epoch=2)


def names(
    model: str, chain: Sequence[str], route: Route | None = LIVE, *, upstreams: bool = True
) -> list[str]:
    table = Table("base", ["care", "sales"], {"care": route} if route else {})
    target = table.resolve(model, "c1")
    return [step.name for step in policy.steps(target, chain, table, upstreams=upstreams)]


def test_the_chain_follows_what_routing_chose() -> None:
    assert names("care", CHAIN) == ["care@3", "care@2", "base", "upstream:big"]
    assert names("care", ["upstream:big", "previous"]) == ["care@3", "upstream:big", "care@2"]


def test_without_a_chain_there_is_only_what_routing_chose() -> None:
    assert names("care", []) == ["care@3"]


def test_a_pinned_version_and_the_base_by_name_have_no_fallback() -> None:
    assert names("care@1", CHAIN) == ["care@1"]
    assert names("base", CHAIN) == ["base"]


def test_a_canary_falls_back_to_the_live_version() -> None:
    route = LIVE.model_copy(update={"canary": "care@4", "canary_share": 1.0})
    assert names("care", ["previous"], route) == ["care@4", "care@3"]
    first = Route(lob="care", canary="care@1", canary_share=1.0, epoch=1)
    assert names("care", ["previous"], first) == ["care@1", "base"]


def test_where_the_base_was_live_before_it_is_the_previous_one() -> None:
    route = Route(lob="care", live="care@1", epoch=1)
    assert names("care", ["previous"], route) == ["care@1", "base"]


def test_a_line_on_the_base_has_no_step_twice() -> None:
    assert names("care", CHAIN, None) == ["base", "upstream:big"]


def test_an_endpoint_that_upstreams_do_not_answer_leaves_them_out() -> None:
    assert names("care", CHAIN, upstreams=False) == ["care@3", "care@2", "base"]


@given(
    st.lists(st.sampled_from(["previous", "base", "upstream:a", "upstream:b"])),
    st.sampled_from([None, "care@1", "care@2"]),
    st.sampled_from([None, "care@1", "care@2"]),
    st.sampled_from(["care", "care@1", "base"]),
    st.booleans(),
)
def test_any_chain_starts_with_what_routing_chose_and_repeats_nothing(
    chain: list[str], live: str | None, previous: str | None, model: str, upstreams: bool
) -> None:
    route = Route(lob="care", live=live, previous=previous, epoch=1)
    found = names(model, chain, route, upstreams=upstreams)
    assert found[0] == (live or "base" if model == "care" else model)
    assert len(set(found)) == len(found)
    assert set(found) <= {"care@1", "care@2", "base", "upstream:a", "upstream:b"}
    if model != "care":
        assert len(found) == 1


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 409, 413, 422, 429])
def test_our_engine_s_answer_below_500_is_the_client_s(status: int) -> None:
    assert policy.failure(status, upstream=False) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, None), (400, None), (413, None), (422, None)]
    + [(status, "refused") for status in (401, 403, 404, 408, 429)]
    + [(status, "error") for status in (500, 502, 503, 529)],
)
def test_an_upstream_s_refusal_of_us_is_not_the_client_s_fault(
    status: int, reason: str | None
) -> None:
    assert policy.failure(status, upstream=True) == reason


@pytest.mark.parametrize("reason", ["adapter", "engine", "slow", "error"])
def test_a_failure_counts_against_one_of_the_step_s_breakers(reason: policy.Reason) -> None:
    for step in (Step("care@3"), Step("base"), Step("upstream:big")):
        assert policy.culprit(step, reason) in policy.breakers(step)


def test_slowness_is_the_engine_s_and_an_adapter_s_fault_its_own() -> None:
    assert policy.culprit(Step("care@3"), "slow") == policy.ENGINE
    assert policy.skips_engine("slow")
    assert policy.culprit(Step("care@3"), "adapter") == "care@3"
    assert not policy.skips_engine("adapter")
    assert policy.culprit(Step("upstream:big"), "slow") == "upstream:big"


def test_a_version_that_an_upstream_answers_shares_the_upstream_s_breaker_and_no_other() -> None:
    step, big = Step("care@3", via="big"), Step("upstream:big")
    assert (step.upstream, step.version, big.version) == ("big", "care@3", None)
    assert policy.breakers(step) == policy.breakers(big) == ("upstream:big",)
    assert policy.culprit(step, "slow") == "upstream:big"


@pytest.mark.parametrize(
    ("path", "body", "takes"),
    [
        ("/v1/chat/completions", {}, True),
        ("/v1/completions", {"continue_final_message": False}, True),
        ("/v1/chat/completions", {"continue_final_message": True}, False),
        ("/v1/responses", {}, False),
    ],
)
def test_only_what_upstreams_take_is_asked_of_a_version_s(
    path: str, body: dict[str, Any], takes: bool
) -> None:
    assert policy.takes(path, body) is takes
    policy.require(Step("care@3"), path, body)
    if takes:
        policy.require(Step("care@3", via="big"), path, body)
        return
    with pytest.raises(InvalidRequest, match=r"care@3 \(`upstreams\.big`\)"):
        policy.require(Step("care@3", via="big"), path, body)
