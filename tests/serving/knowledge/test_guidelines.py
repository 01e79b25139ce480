"""Guidelines in ABCD's form become a passage for each kind of case."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.knowledge.reading import passages

ABCD_DIR = os.environ.get("SWITCHBOARD_ABCD_DIR")  # read before the environment is cleared

CASE = {
    "instructions": ["Ask why.", ""],
    "actions": [
        {"type": "interaction", "button": "Record Reason", "text": "Enter it", "subtext": ["Late"]},
        {"type": "message", "button": "", "text": "Say goodbye.", "subtext": []},
    ],
}
FLOW: dict[str, Any] = {
    "description": "refunds",
    "subflows": {"Initiate Refund": CASE, "Empty": {}},
}


def test_a_case_is_a_passage_that_says_its_steps(tmp_path: Path) -> None:
    (tmp_path / "guidelines.json").write_text(json.dumps({"Product Defect": FLOW}))
    for source in (tmp_path, tmp_path / "guidelines.json"):
        (one,) = passages(source)
        assert one.id == "guidelines.json#initiate-refund"
        assert one.title == "Product Defect > Initiate Refund"
        assert one.text == "Ask why.\n\nRecord Reason: Enter it\n- Late\n\nSay goodbye."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "no JSON"),
        ("[]", "no guidelines: it"),
        ('{"Flow": {"subflow": {}}}', "Flow.subflows"),
        ('{"Flow": {"subflows": {"A": {"actions": "x"}}}}', "Flow.subflows.A.actions"),
        ("{}", "nothing in it"),
    ],
)
def test_what_has_another_form_is_refused_by_its_key(
    tmp_path: Path, content: str, told: str
) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(InvalidRequest) as fault:
        passages(file)
    assert told in fault.value.message
    assert "x.json" in fault.value.message


@pytest.mark.skipif(not ABCD_DIR, reason="SWITCHBOARD_ABCD_DIR does not name ABCD's folder")
def test_abcd_s_own_are_read() -> None:
    found = passages(Path(ABCD_DIR or "") / "guidelines.json")
    assert len(found) > 50
    assert any("Initiate Refund" in one.title for one in found)
