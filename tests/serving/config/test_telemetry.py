"""What the configuration says of traces and logs, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.config import revision, settings
from serving.config.telemetry import Telemetry
from serving.errors import ConfigError


def load(folder: Path, telemetry: dict[str, Any], **more: Any) -> settings.Settings:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"model": "m", "lobs": {"care": {}}, **more} | telemetry))
    return settings.load(path)


def test_nothing_is_traced_by_default(tmp_path: Path) -> None:
    made = load(tmp_path, {}).telemetry
    assert made == Telemetry()
    assert made.traces_url is None


def test_spans_go_below_the_collector_s_address(tmp_path: Path) -> None:
    made = load(tmp_path, {"telemetry": {"otlp_endpoint": "http://otel:4318/"}}).telemetry
    assert made.traces_url == "http://otel:4318/v1/traces"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("otlp_endpoint", "otel:4317"),
        ("otlp_endpoint", "http://otel:4318/v1/traces"),
        ("otlp_endpoint", "http://"),
        ("otlp_endpoint", "http://me:password@otel:4318"),
        ("sample", 1.5),
        ("log_format", "xml"),
        ("endpoint", "http://otel:4318"),
    ],
)
def test_a_fault_names_its_key(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"telemetry\.{key}: "):
        load(tmp_path, {"telemetry": {key: value}})


def test_texts_are_refused_where_a_line_is_redacted(tmp_path: Path) -> None:
    keys = {"storage": {"keys": {"command": ["true"]}}}
    redacted = {"lobs": {"care": {"store": {"redact": True}}}, **keys}
    with pytest.raises(ConfigError, match=r"texts: .*lobs\.care\.store\.redact"):
        load(tmp_path, {"telemetry": {"texts": True}}, **redacted)
    assert not load(tmp_path, {"telemetry": {"texts": False}}, **redacted).telemetry.texts
    assert load(tmp_path, {"telemetry": {"texts": True}}).telemetry.texts


@pytest.mark.parametrize("key", ["otlp_endpoint", "texts", "sample", "log_format"])
def test_an_admin_s_key_cannot_send_spans_elsewhere(key: str) -> None:
    assert revision.price(f"telemetry.{key}") == "fixed"
