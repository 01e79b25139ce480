"""What the command makes of its options; the comparison itself is in tests/e2e/test_compare.py."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.errors import NotFound
from training.analysis import compare_report, compare_run
from training.analysis.compare import Price
from training.analysis.compare_report import Report
from training.analysis.compare_run import Other
from training.cli.compare import compare
from training.errors import DatasetError

SERVERS = ("--server", "http://b", "--model", "m", "--server", "http://c/v1", "--model", "n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "default.yaml").write_text("evaluation: {concurrency: 3}\n")
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: hub/model\nlobs: {{care: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
    )
    return file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def run(lob: str, **options: Any) -> Report:
        found.update(options, lob=lob)
        return Report(lob, "abc", (), ())

    monkeypatch.setattr(compare_run, "run", run)
    monkeypatch.setattr(compare_report, "write", lambda *_: None)
    return found


def call(config: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, ["care", "--config", str(config), *arguments])


def test_one_price_is_for_all_servers_and_several_for_each(
    config: Path, asked: dict[str, Any]
) -> None:
    assert call(config, *SERVERS, "--price-per-hour", "2").exit_code == 0
    assert asked["price"] == Price(per_hour=2)
    two = Price(per_hour=2)
    assert asked["others"] == [Other("http://b", "m", two), Other("http://c/v1", "n", two)]
    each = [part for hour in "123" for part in ("--price-per-hour", hour)]
    assert call(config, *SERVERS, *each).exit_code == 0
    assert asked["price"] == Price(per_hour=1)
    assert [other.price for other in asked["others"]] == [Price(per_hour=2), Price(per_hour=3)]


def test_token_prices_are_the_other_servers_(config: Path, asked: dict[str, Any]) -> None:
    given = ("--price-per-hour", "2", "--price-per-mtok-in", "0.5", "--models", "base, care@3")
    assert call(config, *SERVERS, *given, "--concurrency", "5").exit_code == 0
    assert asked["price"] == Price(per_hour=2)
    assert [other.price for other in asked["others"]] == [Price(per_mtok_in=0.5)] * 2
    assert asked["models"] == ["base", "care@3"]
    assert asked["rules"].concurrency == 5


def test_without_prices_there_are_none(config: Path, asked: dict[str, Any]) -> None:
    assert call(config, *SERVERS).exit_code == 0
    assert (asked["price"], asked["models"], asked["rules"].concurrency) == (None, [], 3)
    assert [other.price for other in asked["others"]] == [None, None]


@pytest.mark.parametrize(
    "arguments",
    [("--server", "http://b"), (*SERVERS, "--price-per-hour", "1", "--price-per-hour", "2")],
)
def test_what_does_not_pair_is_refused(
    config: Path, asked: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    assert call(config, *arguments).exit_code == 2
    assert asked == {}


def test_without_a_dataset_it_says_how_to_build_one(config: Path) -> None:
    found = call(config).exception
    assert isinstance(found, DatasetError)
    assert "switchboard dataset build care" in found.message
    assert isinstance(call(config, "--dataset", "abc").exception, NotFound)
