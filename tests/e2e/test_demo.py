"""`switchboard demo` end to end: the loop turns, and the gain is the adapter's own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OTHER_BASE
from tests.e2e.server import BIN, ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
]
ABCD = os.environ.get("SWITCHBOARD_ABCD_DIR")


def demo(out: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [BIN / "switchboard", "demo", "--out", out, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("demo: passed")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    return report


@pytest.fixture(scope="module")
def report(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one run on generated conversations."""
    if OTHER_BASE:
        pytest.skip("the gain is defined for the demo's own base")
    return demo(tmp_path_factory.mktemp("demo"))


def test_demo_fails_no_request_and_rolls_back(report: dict[str, Any]) -> None:
    assert report["failed_requests"] == 0
    assert report["requests"] > 50
    assert report["swap_seconds"] > 0
    assert [done["answered_by"] for done in report["rollbacks"]] == ["base", "base"]


@pytest.mark.parametrize("lob", ["care", "sales"])
def test_adapter_raises_held_out_edit_similarity(report: dict[str, Any], lob: str) -> None:
    found = report[lob]
    assert found["edit_similarity_adapter"] - found["edit_similarity_base"] >= 0.15
    assert found["held_out"] >= 20


@pytest.mark.parametrize("lob", ["care", "sales"])
def test_another_lobs_adapter_hurts(report: dict[str, Any], lob: str) -> None:
    found = report[lob]
    assert found["edit_similarity_other_adapter"] < found["edit_similarity_adapter"] - 0.1


@pytest.mark.drill
@pytest.mark.skipif(not ABCD, reason="SWITCHBOARD_ABCD_DIR names no folder with ABCD's sample")
def test_demo_runs_on_abcd(tmp_path: Path) -> None:
    report = demo(tmp_path, "--dialogs", f"{ABCD}/abcd_sample.json")
    assert report["failed_requests"] == 0
