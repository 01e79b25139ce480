"""Revisions: what differs, what changing it takes, and what people may see."""

import json
from typing import Any

import pytest

from serving.config.revision import TUNABLE, Revision, light_part, plan, price, shown
from serving.config.settings import Settings
from serving.engine import args

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
        ({"env": {"LD_PRELOAD": "/x.so"}}, "fixed", "env.LD_PRELOAD"),
        ({"model": "other"}, "fixed", "model"),
        ({"auth": {"metrics_public": True}}, "fixed", "auth.metrics_public"),
        ({"adapters": {"cache_dir": "/x"}}, "fixed", "adapters.cache_dir"),
        ({"adapters": {"max_rank": 8}}, "heavy", "adapters.max_rank"),
        ({"replicas": 2}, "scale", "replicas"),
        ({"autoscaling": {"max_replicas": 3}}, "scale", "autoscaling.max_replicas"),
        ({"rollouts": {"surge": False}}, "scale", "rollouts.surge"),
        ({"rollouts": {"lost_after_s": 5}}, "light", "rollouts.lost_after_s"),
        ({"http": {"body_limit_bytes": 2048}}, "light", "http.body_limit_bytes"),
        ({"lobs": {"care": {}, "sales": {}}}, "light", "lobs.sales.description"),
        (
            {"lobs": {"care": {"shadow": {"version": "care@3"}}}},
            "light",
            "lobs.care.shadow.version",
        ),
    ],
)
def test_each_key_has_its_price(changes: dict[str, Any], kind: str, key: str) -> None:
    found = plan(revision(), revision(**changes))
    assert key in getattr(found, kind)
    assert set(found.keys) == set(getattr(found, kind)), "nothing else may seem to change"


def rule(**webhook: Any) -> dict[str, Any]:
    """A line with one rule."""
    one = {"name": "balance", "version": 1, "patterns": ["balance"], "answer": "{balance}"}
    return {"lobs": {"care": {"rules": [one | {"webhook": webhook}]}}}


def test_rules_change_while_a_replica_runs_but_not_who_is_told_which_secret() -> None:
    old = revision(**rule(url="https://a.example"))
    assert plan(old, revision(**rule(url="https://b.example"))).light == ("lobs.care.rules",)
    told = revision(**rule(url="https://a.example", api_key="${file:/etc/shadow}"))
    assert plan(old, told).fixed == ("lobs.care.rules",)
    moved = revision(**rule(url="https://b.example", api_key="${file:/etc/shadow}"))
    assert plan(told, moved).fixed == ("lobs.care.rules",)
    slower = rule(url="https://a.example", api_key="${file:/etc/shadow}", timeout_s=9)
    assert plan(told, revision(**slower)).light == ("lobs.care.rules",)


def hooked(**webhook: Any) -> dict[str, Any]:
    """A line whose reviews are told to people."""
    return {"lobs": {"care": {"reviews": {"webhook": webhook or None}}}}


def test_where_reviews_are_told_changes_only_in_the_file_and_may_be_switched_off() -> None:
    off, on = revision(**hooked()), revision(**hooked(url="${A}"))
    assert plan(off, on).fixed == ("lobs.care.reviews.webhook.url",)
    assert plan(on, revision(**hooked(url="${B}"))).fixed == ("lobs.care.reviews.webhook.url",)
    signed = revision(**hooked(url="${A}", secret="${file:/etc/shadow}"))
    assert plan(on, signed).fixed == ("lobs.care.reviews.webhook.secret",)
    fewer = revision(**hooked(url="${A}", events=["expired"]))
    assert plan(on, fewer).light == ("lobs.care.reviews.webhook.events",)
    assert plan(on, off).fixed == ()


def test_prompts_count_by_content() -> None:
    changed = revision(prompts=PROMPTS | {"care/summary.jinja": "y"})
    assert plan(revision(), changed).light == ("prompts.care/summary.jinja",)


def test_what_nobody_has_judged_changes_only_in_the_file() -> None:
    assert price("whatever.comes.later") == "fixed"


LOADS_CODE = (
    "allowed_local_media_path",
    "compilation_config",
    "hf_config_path",
    "hf_overrides",
    "io_processor_plugin",
    "kv_transfer_config",
    "load_format",
    "logits_processors",
    "middleware",
    "model_class_overrides",
    "scheduler_cls",
    "speculative_config",
    "tokenizer",
    "tool_parser_plugin",
    "trust_remote_code",
    "worker_cls",
    "worker_extension_cls",
)


@pytest.mark.parametrize("name", LOADS_CODE)
def test_what_loads_code_changes_only_in_the_file(name: str) -> None:
    assert name in args.names(), "vLLM has renamed it"
    changed = revision(engine={"max_num_seqs": 8, name: "x"})
    assert plan(revision(), changed).fixed == (f"engine.{name}",)


def test_what_may_change_is_an_argument_of_vllm() -> None:
    assert {name.partition(".")[0] for name in TUNABLE} <= args.names()


def upstream(**changes: Any) -> Revision:
    given = {"url": "https://models.example/v1", "model": "m", "api_key": "${THEIRS}"}
    return revision(upstreams={"big": {k: v for k, v in (given | changes).items() if v}})


@pytest.mark.parametrize(
    ("new", "key"),
    [
        (upstream(url="https://attacker.example/v1"), "upstreams.big.url"),
        (upstream(api_key="${SWITCHBOARD_DATABASE}"), "upstreams.big.api_key"),
        (upstream(api_key="${file:/etc/shadow}"), "upstreams.big.api_key"),
        (upstream(api_key=None, url="https://attacker.example/v1"), "upstreams.big.url"),
    ],
)
def test_where_a_secret_goes_changes_only_in_the_file(new: Revision, key: str) -> None:
    assert key in plan(upstream(), new).fixed
    assert "upstreams.big.url" in plan(revision(), upstream()).fixed


def test_an_upstream_without_a_secret_may_change() -> None:
    old, new = (upstream(api_key=None, url=f"https://{name}.example/v1") for name in "ab")
    assert plan(old, new).heavy == ("upstreams.big.url",)
    assert plan(upstream(), upstream(timeout_s=5)).heavy == ("upstreams.big.timeout_s",)


def test_kept_as_json_it_is_the_same_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIRS", "hunter2")
    kept = json.dumps(upstream().dump())
    assert "hunter2" not in kept
    assert Revision.load(json.loads(kept)).hash == upstream().hash


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


def test_people_see_names_of_secrets_and_no_value_of_the_environment() -> None:
    settings = revision(
        store={"url": "postgresql://me:${DB}@db/x"},
        env={"HF_TOKEN": "${HF_TOKEN}", "NOBODY_KNOWS": "hunter2"},
        engine={"hf_token": "${file:/run/secrets/hf}", "tokenizer_mode": "auto"},
    ).settings
    seen = shown(settings)
    assert "hunter2" not in str(seen)
    assert seen["env"] == {"HF_TOKEN": "${HF_TOKEN}", "NOBODY_KNOWS": "***"}
    assert seen["engine"]["hf_token"] == "${file:/run/secrets/hf}"
    assert seen["store"]["url"] == "postgresql://me:${DB}@db/x"
