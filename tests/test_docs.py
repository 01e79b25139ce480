"""The documentation builds as a site without a warning: no link leads nowhere, no page is lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

from serving import errors
from serving.cli import app, load_commands
from serving.observability import metrics

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--config-file", ".mkdocs.yml", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text()


def test_every_page_is_there(site: Path) -> None:
    written = [one for one in (ROOT / "docs").rglob("*.md") if one.name != "index.md"]
    assert len(written) > 15
    for one in written:
        name = one.relative_to(ROOT / "docs").with_suffix("")
        assert (site / name / "index.html").is_file(), name


def test_the_reference_names_every_command(site: Path) -> None:
    load_commands()
    text = page(site, "reference/commands")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert len(commands) > 15
    for name in commands:
        assert f"switchboard {name}" in text


def test_the_reference_names_every_error_and_metric(site: Path) -> None:
    text = page(site, "reference/errors")
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    for one in kinds:
        if issubclass(one, errors.SwitchboardError):
            assert f"<code>{one.code}</code>" in text
    text = page(site, "reference/metrics")
    ours = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    assert len(ours) > 20
    for metric in ours:
        assert f"<code>{metric._name}" in text


def test_pages_without_diagrams_fetch_nothing_from_elsewhere(site: Path) -> None:
    for name in ("guides/quick-start", "operations", "reference/commands"):
        found = re.findall(r'(?:src|href)="(https?://[^"]+)"', page(site, name))
        loaded = [one for one in found if re.search(r"\.(?:js|css|woff2?)(?:$|\?)|fonts\.", one)]
        assert loaded == []
