"""`switchboard rules` on a configuration file."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serving.config import settings
from serving.errors import ConfigError
from serving.startup import rules
from serving.store.database import Database

HOURS = {
    "name": "hours",
    "version": 1,
    "patterns": ["opening hours"],
    "answer": "9 to 5.",
    "tests": [{"says": "opening hours?", "answer": "9 to 5."}],
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    content = {
        "model": "m",
        "store": {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"},
        "lobs": {"care": {"rules": [HOURS]}},
    }
    file.write_text(yaml.safe_dump(content))
    return file


def run(*arguments: str) -> str:
    result = CliRunner().invoke(rules.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_tests_that_pass_are_counted(config: Path) -> None:
    assert "1 tests of rules passed" in run("test", "--config", str(config))


def test_a_test_that_fails_is_named_and_fails_the_command(config: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["lobs"]["care"]["rules"][0]["answer"] = "9 to 6."
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="1 of 1 tests of rules failed"):
        run("test", "--config", str(config))


def test_rules_are_listed_with_their_version(config: Path) -> None:
    assert "rule:hours@1" in run("list", "--config", str(config))


async def _made(url: str) -> None:
    db = Database(url)
    await db.open()
    await db.close()


def test_the_report_of_a_line_without_answers_is_empty(config: Path) -> None:
    import asyncio

    asyncio.run(_made(yaml.safe_load(config.read_text())["store"]["url"]))
    assert "rule:" not in run("report", "care", "--config", str(config))


def test_a_webhooks_key_is_named_in_the_file_and_resolved_where_it_is_used(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_KEY", "sk-1")
    content = yaml.safe_load(config.read_text())
    hook = {"url": "https://billing.example/slots", "api_key": "${BILLING_KEY}"}
    content["lobs"]["care"]["rules"][0] |= {"webhook": hook}
    config.write_text(yaml.safe_dump(content))
    (rule,) = settings.load(config).lobs["care"].rules
    assert rule.webhook is not None
    assert rule.webhook.api_key == "${BILLING_KEY}"
