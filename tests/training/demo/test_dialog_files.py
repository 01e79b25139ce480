"""Dialog files: ours and ABCD's become one shape, and a bad row is named by file and line."""

import json
import os
from pathlib import Path

import pytest

from training.demo.dialog_files import Dialog, DialogError, Turn, read_dialogs, write_dialogs
from training.demo.edits import edit_reply, edit_summary, reply_turns

ABCD_DIR = os.environ.get("SWITCHBOARD_ABCD_DIR")  # read before the environment is cleared
ROW = {"conversation_id": "a", "lob": "care", "turns": [{"role": "customer", "text": "Hello."}]}
ABCD = {
    "convo_id": 7,
    "scenario": {"flow": "storewide_query"},
    "original": [["agent", "Hi!"], ["action", "Search"], ["customer", "A code? "]],
}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    dialogs = [
        Dialog(
            conversation_id=name,
            lob="care",
            turns=(
                Turn(role="customer", text="Où est-il ? 🙂\n\u2028"),
                Turn(role="agent", text="?"),
            ),
            facts={"due": "Friday"},
            final_summary=summary,
        )
        for name, summary in (("a", None), ("b", "It is lost."))
    ]
    write_dialogs(tmp_path / "d.jsonl", dialogs)
    assert read_dialogs(tmp_path / "d.jsonl") == dialogs


def test_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(f"\n{json.dumps(ROW)}\n\n")
    assert [d.conversation_id for d in read_dialogs(path)] == ["a"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "JSON"),
        ("{}", "conversation_id: Field required"),
        (json.dumps(ROW | {"turns": []}), "turns"),
        (json.dumps(ROW | {"turns": [{"role": "bot", "text": "x"}]}), "turns.0.role"),
        (json.dumps(ROW | {"surprise": 1}), "surprise"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_key(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + row + "\n")
    with pytest.raises(DialogError, match=reason) as caught:
        read_dialogs(path)
    assert f"{path}:2" in str(caught.value)


def test_an_id_used_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text((json.dumps(ROW) + "\n") * 2)
    with pytest.raises(DialogError, match=r"d\.jsonl:2: .* was used at .*d\.jsonl:1"):
        read_dialogs(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", None])
def test_a_file_without_dialogs_is_a_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "d.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DialogError, match=r"d\.jsonl"):
        read_dialogs(path)


@pytest.mark.parametrize("content", [[ABCD], {"train": [ABCD], "dev": []}])
def test_abcd_is_recognised_by_its_content(tmp_path: Path, content: object) -> None:
    path = tmp_path / "abcd.json"
    path.write_text(json.dumps(content, indent=1))
    (dialog,) = read_dialogs(path)
    assert (dialog.conversation_id, dialog.lob) == ("abcd-7", "sales")
    assert dialog.turns == (Turn(role="agent", text="Hi!"), Turn(role="customer", text="A code?"))


def test_abcd_flows_map_to_the_callers_lines_of_business(tmp_path: Path) -> None:
    path = tmp_path / "abcd.json"
    path.write_text(json.dumps([ABCD]))
    assert read_dialogs(path, lob_of=lambda flow: f"lob-{flow}")[0].lob == "lob-storewide_query"


@pytest.mark.parametrize("item", [{}, 3, ABCD | {"original": [["agent"]]}, ABCD | {"original": 1}])
def test_a_bad_abcd_item_is_named(tmp_path: Path, item: object) -> None:
    path = tmp_path / "abcd.json"
    path.write_text(json.dumps([ABCD, item]))
    with pytest.raises(DialogError, match=r"abcd\.json: item 1: not an ABCD conversation"):
        read_dialogs(path)


@pytest.mark.skipif(not ABCD_DIR, reason="SWITCHBOARD_ABCD_DIR does not name ABCD's folder")
def test_the_abcd_sample_reads_and_can_be_edited() -> None:
    dialogs = read_dialogs(Path(str(ABCD_DIR)) / "abcd_sample.json")
    assert [d.lob for d in dialogs] == ["care", "care", "sales"]
    promised, refund, promo = (edit_summary(dialog, "It went well.") for dialog in dialogs)
    assert promised.startswith("Case: I need to return an item")
    assert "they will give you a call" in promised
    assert "less than a week" in refund
    assert "all promo codes expire after 7 days" in promo
    assert "Bought: no" in promo
    for dialog in dialogs:
        for index in reply_turns(dialog):
            assert edit_reply(dialog, index, "Anything.") == dialog.turns[index].text
