"""Which suggestions are chosen from candidates, and what the engine makes for them."""

from typing import Any

import pytest

from serving import endpoints
from serving.config.lobs import Lob
from serving.gateway import request
from serving.gateway.suggesting import plan
from serving.gateway.suggesting.completion import SPACED
from serving.gateway.suggesting.plan import Plan

TALK = [{"role": "customer", "text": "Hi"}]


def planned(
    settings: dict[str, Any] | None = None,
    path: str = endpoints.SUGGESTIONS,
    places: int = 32,
    **body: Any,
) -> Plan | None:
    lobs = {"care": Lob.model_validate(settings or {})}
    sent = {"lob": "care", "conversation": TALK} | body
    fields = frozenset({"n"})
    asked = request.read(
        path, sent, conversation_id=None, base="base", lobs=lobs, sampling_fields=fields
    )
    return plan.of(asked, lobs, places)


def test_a_plain_suggestion_needs_none() -> None:
    assert planned() is None
    assert planned(draft="  ") is None
    assert planned({"suggestions": {"abstain_below": 0.5}}, endpoints.SUMMARIES, n=2) is None


@pytest.mark.parametrize(
    ("settings", "places", "wanted", "sampled"),
    [
        ({}, 32, 3, 6),
        ({"suggestions": {"oversample": 1}}, 32, 3, 3),
        ({"suggestions": {"max_sampled": 4}}, 32, 3, 4),
        ({"suggestions": {"max_sampled": 2}}, 32, 3, 3),
        ({}, 4, 3, 4),
        ({}, 2, 3, 3),
        ({"suggestion_defaults": {"n": 2}}, 32, None, 4),
    ],
)
def test_more_are_made_than_asked_for_within_limits(
    settings: dict[str, Any], places: int, wanted: int | None, sampled: int
) -> None:
    made = planned(settings, places=places, **({} if wanted is None else {"n": wanted}))
    assert made is not None
    assert (made.wanted, made.sampled) == (wanted or 2, sampled)
    assert made.extra() == ({"n": sampled} if sampled > made.wanted else {})


def test_one_candidate_is_one_sample() -> None:
    made = planned({"suggestions": {"abstain_below": 0.5}})
    assert made == Plan(similar=0.8, abstain_below=0.5)
    assert made.extra() == {}


def test_white_space_after_a_draft_is_the_answer_s_beginning() -> None:
    made = planned(draft="I am ")
    assert made is not None
    assert (made.draft, made.gap) == ("I am", " ")
    assert made.extra() == {"structured_outputs": {"regex": SPACED}}
    within = planned(draft="I am so")
    assert within is not None
    assert within.extra() == {}
