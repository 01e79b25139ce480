"""The files for containers agree with the server, and with each other. No engine of containers is
needed: what they would run is checked, not that they ran."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import endpoints
from serving.config import settings as settings_module

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> settings_module.Settings:
    """Load the configuration as the server's container would."""
    monkeypatch.chdir(ROOT)
    for name, value in SERVICES["server"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{.*\}", "from-the-file", value))
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("SWITCHBOARD_MODEL", str(tmp_path))  # which is mounted there
    (config,) = [word for word in SERVICES["server"]["command"] if word.endswith(".yaml")]
    return settings_module.load(ROOT / config)


def test_the_servers_configuration_loads_and_listens_where_it_is_published(
    server: settings_module.Settings,
) -> None:
    (published,) = SERVICES["server"]["ports"]
    assert published.endswith(f":{server.http.port}")
    assert server.http.host == "0.0.0.0"
    assert server.store.url.endswith("@${PGHOST}/switchboard")


def test_a_stop_waits_for_requests_to_end(server: settings_module.Settings) -> None:
    assert int(SERVICES["server"]["stop_grace_period"].removesuffix("s")) > server.http.drain_s


def test_what_is_mounted_from_here_is_there() -> None:
    mounts = [one for service in SERVICES.values() for one in service.get("volumes", ())]
    local = [one.split(":")[0] for one in mounts if one.startswith(".")]
    assert len(local) >= 4
    assert [one for one in local if not (COMPOSE / one).exists()] == []


def test_nothing_but_loopback_is_published_and_no_password_is_written_down() -> None:
    published = [one for service in SERVICES.values() for one in service.get("ports", ())]
    assert [one for one in published if not one.startswith("127.0.0.1:")] == []
    text = (COMPOSE / "compose.yaml").read_text()
    for line in re.findall(r".*PASSWORD: .*", text):
        assert "${" in line, line


def test_prometheus_scrapes_the_server_and_reads_our_alerts(
    server: settings_module.Settings,
) -> None:
    asked = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())
    (target,) = asked["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == f"server:{server.http.port}"
    assert server.auth.metrics_public
    (rules,) = asked["rule_files"]
    assert any(one.split(":")[1] == rules for one in SERVICES["prometheus"]["volumes"])


def test_grafana_finds_the_dashboard_where_its_provider_looks() -> None:
    provider = yaml.safe_load((COMPOSE / "grafana/dashboards/switchboard.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    mounted = [one.split(":")[1] for one in SERVICES["grafana"]["volumes"]]
    assert f"{folder}/switchboard.json" in mounted


def test_the_image_runs_as_nobody_special_and_asks_whether_it_is_ready() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER switchboard$", final, re.MULTILINE)
    assert f"http://127.0.0.1:8000{endpoints.READY}" in final
    assert "HEALTHCHECK" in final


def test_what_is_copied_into_an_image_leaves_secrets_and_data_out() -> None:
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "data", "**/.env"} <= set(left_out)
