"""The queue's keys: a typo or a pattern that runs away fails at start and is named."""

from typing import Any

import pytest
from pydantic import ValidationError

from serving.config import secrets
from serving.config.settings import Settings


def reviews(given: dict[str, Any]) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {"reviews": given}}})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"dead_line_s": 5}, "lobs.care.reviews.dead_line_s"),
        ({"deadline_s": 0}, "lobs.care.reviews.deadline_s"),
        ({"fallback_text": ""}, "lobs.care.reviews.fallback_text"),
        ({"high_stakes": [{"name": "a", "answr": ["x"]}]}, "lobs.care.reviews.high_stakes.0.answr"),
        ({"high_stakes": [{"name": "a"}]}, "lobs.care.reviews.high_stakes.0"),
        ({"high_stakes": [{"name": "A", "answer": ["x"]}]}, "lobs.care.reviews.high_stakes.0.name"),
        (
            {"high_stakes": [{"name": "a", "answer": ["(a+)+"]}]},
            "lobs.care.reviews.high_stakes.0.answer.0",
        ),
        ({"high_stakes": [{"name": "a", "answer": ["x"]}] * 2}, "lobs.care.reviews"),
        ({"low_confidence": {"belw": 0.5}}, "lobs.care.reviews.low_confidence.belw"),
        ({"low_confidence": {"below": 0}}, "lobs.care.reviews.low_confidence.below"),
        ({"low_confidence": {"below": 70}}, "lobs.care.reviews.low_confidence.below"),
        ({"low_confidence": 0.5}, "lobs.care.reviews.low_confidence"),
        ({"webhook": {}}, "lobs.care.reviews.webhook.url"),
        ({"webhook": {"url": "https://hooks.example/T/B"}}, "lobs.care.reviews.webhook.url"),
        ({"webhook": {"url": "${A}", "event": []}}, "lobs.care.reviews.webhook.event"),
        ({"webhook": {"url": "${A}", "events": ["claimed"]}}, "lobs.care.reviews.webhook.events.0"),
    ],
)
def test_a_fault_names_its_key(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        reviews(given)
    assert key in [".".join(map(str, one["loc"])) for one in refused.value.errors()]


def test_a_confidence_of_an_engine_without_probabilities_is_refused() -> None:
    line = {"lobs": {"care": {"reviews": {"low_confidence": {"below": 0.5}}}}}
    with pytest.raises(ValidationError, match=r"care\.reviews\.low_confidence: .*raw_logits"):
        Settings.model_validate({"model": "m", "engine": {"logprobs_mode": "raw_logits"}} | line)


def test_a_line_has_no_queue_unless_it_says_so() -> None:
    assert (
        Settings.model_validate({"model": "m", "lobs": {"care": {}}}).lobs["care"].reviews is None
    )
    made = reviews({}).lobs["care"].reviews
    assert made is not None
    assert (made.deadline_s, made.fallback_text) == (120.0, "One moment, I am checking.")


def test_a_start_checks_that_the_webhooks_secrets_are_there() -> None:
    made = reviews({"webhook": {"url": "${CARE_HOOK}", "secret": "${file:/run/secrets/care}"}})
    key = "lobs.care.reviews.webhook"
    assert [one for one in made.secrets() if one[0].startswith("lobs")] == [
        (f"{key}.url", "${CARE_HOOK}"),
        (f"{key}.secret", "${file:/run/secrets/care}"),
    ]
    raw = {"lobs": {"care": {"reviews": {"webhook": {"url": "${CARE_HOOK}"}}}}}
    assert secrets.expand(raw) == raw, "the name stays until it is used"
