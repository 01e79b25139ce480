"""Revisions: what differs, what changing it takes, and what people may see."""

from typing import Any

import pytest

from serving.config.revision import Revision, light_part, plan, price, shown
from serving.config.settings import Settings

PROMPTS = {"default/summary.jinja": "{% block user %}x{% endblock %}"}


def revision(prompts: dict[str, str] | None = None, **changes: Any) -> Revision:
    raw: dict[str, Any] = {"model": "m", "lobs": {"care": {}}, "engine": {"max_num_seqs": 8}}
    return Revision(Settings.model_validate(raw | changes), PROMPTS if prompts is None else prompts)


def test_equal_content_has_equal_hash_and_nothing_to_do() -> None:
    assert revision().hash == revision().hash
    assert plan(revision(), revision()).keys == []


@pytest.mark.parametrize(
    ("changes", "kind", "key"),
    [
        ({"http": {"port": 9}}, "fixed", "http.port"),
        ({"store": {"url": "sqlite:///x"}}, "fixed", "store.url"),
        ({"served_name": "other"}, "fixed", "served_name"),
        ({"engine": {"max_num_seqs": 9}}, "heavy", "engine.max_num_seqs"),
        ({"engine": {"max_num_seqs": 8, "seed": 1}}, "heavy", "engine.seed"),
        ({"engine": {}}, "heavy", "engine.max_num_seqs"),
        ({"env": {"A": "1"}}, "heavy", "env.A"),
        ({"adapters": {"max_rank": 8}}, "heavy", "adapters.max_rank"),
        ({"replicas": 2}, "scale", "replicas"),
        ({"autoscaling": {"max_replicas": 3}}, "scale", "autoscaling.max_replicas"),
        ({"rollouts": {"surge": False}}, "scale", "rollouts.surge"),
        ({"rollouts": {"lost_after_s": 5}}, "light", "rollouts.lost_after_s"),
        ({"http": {"body_limit_bytes": 2048}}, "light", "http.body_limit_bytes"),
        ({"lobs": {"care": {}, "sales": {}}}, "light", "lobs.sales.description"),
    ],
)
def test_each_key_has_its_price(changes: dict[str, Any], kind: str, key: str) -> None:
    found = plan(revision(), revision(**changes))
    assert key in getattr(found, kind)
    assert set(found.keys) == set(getattr(found, kind)), "nothing else may seem to change"


def test_prompts_count_by_content() -> None:
    changed = revision(prompts=PROMPTS | {"care/summary.jinja": "y"})
    assert plan(revision(), changed).light == ("prompts.care/summary.jinja",)


def test_unknown_keys_restart_replicas_since_that_is_always_safe() -> None:
    assert price("whatever.comes.later") == "heavy"


def test_only_what_needs_a_restart_is_in_the_heavy_hash() -> None:
    assert revision(replicas=2, lobs={"a": {}}).heavy_hash == revision().heavy_hash
    assert revision(engine={}).heavy_hash != revision().heavy_hash


def test_light_part_leaves_the_engine_alone() -> None:
    own = revision().settings
    new = revision(
        engine={}, lobs={"sales": {}}, http={"body_limit_bytes": 2048, "port": 9}
    ).settings
    mixed = light_part(own, new)
    assert (mixed.engine, mixed.http.port) == (own.engine, own.http.port)
    assert (list(mixed.lobs), mixed.http.body_limit_bytes) == (["sales"], 2048)


def test_secrets_are_masked() -> None:
    settings = revision(
        store={"url": "postgresql://me:hunter2@db/x"},
        env={"HF_TOKEN": "hunter2", "VLLM_X": "1"},
        engine={"hf_token": "hunter2", "tokenizer_mode": "auto"},
    ).settings
    seen = shown(settings)
    assert "hunter2" not in str(seen)
    assert seen["env"]["VLLM_X"] == "1"
    assert seen["store"]["url"] == "postgresql://me:***@db/x"
