"""Settings: all faults at once, each with key, value and fix; every key documented."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from serving.config import limits, lobs, reviews, sections, settings, storage
from serving.config.base import explain
from serving.config.embedding import sections as embedding
from serving.config.transcription import sections as transcription
from serving.engine import args
from serving.errors import ConfigError

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def write(tmp_path: Path, model: Path, **changes: Any) -> Path:
    content = {"model": str(model), "lobs": {"care": {}}, "prompts": str(ROOT / "configs/prompts")}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_minimal_file_has_safe_defaults(tmp_path: Path, model: Path) -> None:
    loaded = settings.load(write(tmp_path, model))
    assert loaded.auth.enabled
    assert loaded.http.proxy == "haproxy"
    assert loaded.store.url.startswith("sqlite:////"), "relative paths must be made absolute"


def test_all_faults_are_reported_together(tmp_path: Path, model: Path) -> None:
    path = write(
        tmp_path,
        model,
        replicas=0,
        http={"prot": 80},
        lobs={"Care!": {}},
        journal={"fsync": "sometimes"},
        limits={"priorities": {"summaries": 10}},
    )
    with pytest.raises(ConfigError) as refused:
        settings.load(path)
    for key in (
        "replicas",
        "http.prot",
        "lobs",
        "journal.fsync",
        "'sometimes'",
        "limits.priorities",
    ):
        assert key in refused.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "YAML"), ("- a", "keys and values"), ("lobs: {}", "model: missing")],
)
def test_unreadable_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings.load(path)


def test_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        settings.load(tmp_path / "nothing.yaml")


def test_model_path_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        settings.load(write(tmp_path, tmp_path / "nowhere"))


def test_environment_variables_are_put_in(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = {"url": "postgresql://me:${DB_PASSWORD}@db/switchboard"}
    path = write(tmp_path, model, store=store, served_name="${PUBLIC_NAME}")
    with pytest.raises(ConfigError, match=r"served_name.*PUBLIC_NAME is not set"):
        settings.load(path)
    monkeypatch.setenv("PUBLIC_NAME", "support")
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    loaded = settings.load(path)
    assert loaded.served_name == "support"
    assert "hunter2" not in str(loaded), "a secret must stay a name"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"store": {"url": "postgresql://me:hunter2@db/x"}}, "store.url"),
        ({"store": {"url": "postgresql://me:hunt/er2@db/x"}}, "store.url"),
        ({"store": {"url": "postgresql://db/x?user=me&password=hunter2"}}, "store.url"),
        ({"adapters": {"uri": "sftp://me:hunter2@host/x"}}, "adapters.uri"),
        ({"env": {"HF_TOKEN": "hunter2"}}, "env"),
        ({"env": {"MONITORING": "https://me:hunter2@host"}}, "env"),
        ({"engine": {"hf_token": "hunter2"}}, "engine"),
        (
            {"upstreams": {"big": {"url": "http://x", "model": "m", "api_key": "hunter2"}}},
            "upstreams.big.api_key",
        ),
        (
            {"upstreams": {"big": {"url": "http://x", "model": "m", "api_keyy": "hunter2"}}},
            "upstreams.big.api_keyy",
        ),
        (
            {"upstreams": {"big": {"url": "http://x", "model": "m", "api_key": {"a": "hunter2"}}}},
            "upstreams.big.api_key",
        ),
    ],
)
def test_a_secret_that_is_typed_in_is_refused_and_not_repeated(
    tmp_path: Path, model: Path, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=f"  {key}:") as refused:
        settings.load(write(tmp_path, model, **changes))
    assert "hunter2" not in refused.value.message
    assert "hunt" not in refused.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "example.com"])
def test_a_server_without_keys_is_on_loopback_only(tmp_path: Path, model: Path, host: str) -> None:
    auth = {"enabled": False}
    with pytest.raises(ConfigError, match=f"auth: .*loopback address, not {host}"):
        settings.load(write(tmp_path, model, http={"host": host}, auth=auth))
    for own in ("127.0.0.1", "::1", "localhost"):
        assert not settings.load(write(tmp_path, model, http={"host": own}, auth=auth)).auth.enabled


def test_with_a_certificate_the_address_is_https(tmp_path: Path, model: Path) -> None:
    tls = {"certificate": "a.pem", "key": "b.pem"}
    loaded = settings.load(write(tmp_path, model, http={"tls": tls}))
    assert loaded.url == "https://127.0.0.1:8000"
    assert loaded.http.tls is not None
    assert loaded.http.tls.key.is_absolute()


def test_switches_that_only_sound_like_secrets_may_be_typed_in(tmp_path: Path, model: Path) -> None:
    env = {"TOKENIZERS_PARALLELISM": "false", "VLLM_TOKENS": "", "A": "postgresql://host/x"}
    assert settings.load(write(tmp_path, model, env=env)).env == env


def test_the_environment_of_the_engine_has_its_secrets(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("from a file\n")
    monkeypatch.setenv("MINE", "from the environment")
    env = {"A_TOKEN": "${MINE}", "B_TOKEN": f"${{file:{file}}}", "C": "plain"}
    loaded = settings.load(write(tmp_path, model, env=env))
    assert loaded.env == env
    assert list(loaded.environment().values()) == ["from the environment", "from a file", "plain"]
    monkeypatch.delenv("MINE")
    with pytest.raises(ConfigError, match=r"env\.A_TOKEN.*MINE is not set"):
        loaded.environment()


UPSTREAM = {"url": "https://models.example/v1", "model": "m", "api_key": "${THEIR_KEY}"}


def test_a_fallback_must_exist(tmp_path: Path, model: Path) -> None:
    lobs = {"care": {"fallback": ["previous", "base", "upstream:big"]}}
    loaded = settings.load(write(tmp_path, model, lobs=lobs, upstreams={"big": UPSTREAM}))
    assert loaded.lobs["care"].fallback[-1] == "upstream:big"
    for wrong in ("upstream:bog", "care@3", "live", ""):
        lobs = {"care": {"fallback": [wrong]}}
        with pytest.raises(ConfigError, match="use previous, base, upstream:big") as refused:
            settings.load(write(tmp_path, model, lobs=lobs, upstreams={"big": UPSTREAM}))
        assert repr(wrong) in refused.value.message


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("Big", {}, "upstreams.Big.[key]"),
        ("big", {"url": "models.example"}, "upstreams.big.url"),
        ("big", {"url": "https://user:word@models.example/v1"}, "upstreams.big.url"),
        ("big", {"timeout_s": 0}, "upstreams.big.timeout_s"),
        ("big", {"key": "sk-secret"}, "upstreams.big.key"),
    ],
)
def test_a_faulty_upstream_is_named_and_its_key_is_not_shown(
    tmp_path: Path, model: Path, name: str, change: dict[str, Any], key: str
) -> None:
    upstreams = {name: UPSTREAM | change}
    lobs = {"care": {"fallback": ["upstream:big"]}}
    with pytest.raises(ConfigError) as refused:
        settings.load(write(tmp_path, model, lobs=lobs, upstreams=upstreams))
    assert f"  {key}:" in refused.value.message
    assert "1 fault(s)" in refused.value.message
    assert "sk-secret" not in refused.value.message


def test_engine_typo_is_named_without_importing_the_engine() -> None:
    with pytest.raises(ConfigError) as refused:
        args.check({"max_model_lenn": 5, "port": 1, "max_num_seqs": 4})
    assert "engine.max_model_lenn" in refused.value.message
    assert "http.port" in refused.value.message
    assert "max_num_seqs" not in refused.value.message


def test_every_shipped_config_loads(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    for name in ("SWITCHBOARD_MODEL", "PGUSER", "PGPASSWORD", "PGHOST", "SWITCHBOARD_BUCKET"):
        monkeypatch.setenv(name, "value")
    monkeypatch.chdir(ROOT)
    assert len(CONFIGS) == 4
    for path in CONFIGS:
        raw = yaml.safe_load(path.read_text())
        loaded = settings.Settings.model_validate(raw)
        args.check(loaded.engine)


def keys(section: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        assert field.description, f"{prefix}{name} has no description"
        inner = field.annotation
        storage_keys = storage.StorageKeys if prefix == "storage." else inner
        optional = {"tls": sections.Tls, "shadow": lobs.Shadow, "reviews": lobs.Reviews}
        optional |= {"new_network": limits.NewNetwork}
        optional |= {"knowledge": lobs.Knowledge, "responses": lobs.Responses}
        if not prefix:
            optional |= {"embeddings": embedding.Embeddings, "rerank": embedding.Rerank}
            optional |= {"transcription": transcription.Transcription}
        optional |= {"webhook": reviews.Webhook, "low_confidence": reviews.LowConfidence}
        if not prefix.endswith(".retention."):  # where `reviews` is a number of days
            inner = (optional | {"keys": storage_keys}).get(name, inner)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def test_every_key_is_documented() -> None:
    documented = set(
        re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.M)
    )
    expected = keys(settings.Settings) | keys(settings.Lob, "lobs.NAME.")
    expected |= keys(limits.KeyLimits, "limits.keys.NAME.")
    expected |= keys(settings.Upstream, "upstreams.NAME.")
    assert expected - {"lobs", "limits.keys", "upstreams"} == documented


@pytest.mark.parametrize("version", ["sales@3", "care", "care@0", "base"])
def test_a_shadow_is_a_version_of_its_line(version: str) -> None:
    with pytest.raises(ValidationError, match=r"care.shadow.version: .* write it as care@3"):
        settings.Settings.model_validate(
            {"model": "m", "lobs": {"care": {"shadow": {"version": version}}}}
        )
    right = settings.Settings.model_validate(
        {"model": "m", "lobs": {"care": {"shadow": {"version": "care@3"}}}}
    )
    assert right.lobs["care"].shadow == lobs.Shadow(version="care@3", share=0.2, max_running=1)


def test_a_retention_is_days_or_null_and_a_typo_is_named() -> None:
    def of(retention: object) -> lobs.Retention:
        given = {"model": "m", "lobs": {"care": {"retention": retention}}}
        return settings.Settings.model_validate(given).lobs["care"].retention

    assert of({"interactions": 30, "vault": None}) == lobs.Retention(interactions=30)
    with pytest.raises(ValidationError) as fault:
        of({"interaction": 30})
    assert "lobs.care.retention.interaction: unknown key" in explain(fault.value)
    for wrong in (0, -1, "soon", float("nan")):
        with pytest.raises(ValidationError, match=r"retention\.interactions"):
            of({"interactions": wrong})
