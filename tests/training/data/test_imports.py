import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training.data import imports
from training.data.curation import Curated
from training.data.examples import Example, Message
from training.data.splits import NOTHING, Past
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

RULES = CurationConfig(min_examples=2, min_conversations=3, min_holdout=2, golden_share=0)
FILLER = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(10, 16)]


def read(tmp_path: Path, rows: list[Any], past: Past = NOTHING) -> Curated:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return imports.read("care", file, RULES, past)[0]


def fault(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        imports.read("care", file, RULES, NOTHING)
    return caught.value.message.replace(f"{file}", "FILE")


def test_each_of_trls_formats_is_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p1", "completion": "c1"},
        {"prompt": [{"role": "user", "content": "p2"}], "chosen": "good", "rejected": "bad"},
        {"prompt": "p3", "completion": [{"role": "assistant", "content": "c3"}], "label": False},
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "p4"},
                {"role": "assistant", "content": "c4"},
            ]
        },
    ]
    curated = read(tmp_path, [*rows, *FILLER])
    one, two, four = curated.train[:3]
    assert (one.messages, one.target, one.source) == ((Message("user", "p1"),), "c1", "rating")
    assert (two.target, two.shown, two.source) == ("good", "bad", "edit")
    assert [m.role for m in four.messages] == ["system", "user"]
    assert four.target == "c4"
    assert [(e.target, e.source) for e in curated.labels] == [("c3", "rejection")]


def test_conversations_are_held_out_whole_as_many_as_asked_for(tmp_path: Path) -> None:
    rows = [{**row, "conversation_id": f"c{n // 2}"} for n, row in enumerate(FILLER)]
    curated = read(tmp_path, rows)
    assert len(curated.train) == 2
    held = [e.conversation_id[-2:] for e in curated.rolling]
    assert sorted(held) == sorted(2 * [*set(held)])
    assert len(set(held)) == 2
    assert all(e.interaction_id.startswith("import-") for e in curated.train)


def test_the_same_prompt_is_one_conversation(tmp_path: Path) -> None:
    rows = [{"prompt": "same", "completion": f"answer {n}"} for n in range(3)]
    curated = read(tmp_path, [*rows, *FILLER])
    assert len({e.conversation_id for e in curated.train[:3]}) == 1


def test_imports_are_redacted_and_deduplicated(tmp_path: Path) -> None:
    twice = {"prompt": "I am a@example.com", "completion": "Mail to a@example.com."}
    curated = read(tmp_path, [twice, twice, *FILLER])
    found = (*curated.train, *curated.rolling)
    mails = {e.target for e in found if e.target.startswith("Mail")}
    assert len(mails) == 1
    assert re.fullmatch(r"Mail to [b-z]@example\.com\.", mails.pop())
    assert curated.redactions == {"email": 6}  # prompt, shown and target, twice
    assert next(f.dropped for f in curated.filters if f.name == "distinct") == 1


def test_what_nearly_repeats_the_golden_set_is_not_learned_from(tmp_path: Path) -> None:
    said = (Message("user", "question 10"),)
    golden = Example("g", "g", 1.0, "chat", None, None, "edit", said, "", "answer 10")
    curated = read(tmp_path, FILLER, Past(golden=(golden,), golden_id="id"))
    assert "answer 10" not in [e.target for e in curated.train]
    assert curated.golden == (golden,)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "FILE:1: is not JSON: Expecting property name enclosed in double quotes"),
        ("[]", "FILE:1: must be an object, not an empty list"),
        ('{"prompt": "p"}', "FILE:1: completion: missing; the keys are: prompt"),
        ('{"completion": "c"}', "FILE:1: prompt: missing; the keys are: completion"),
        ("{}", "FILE:1: prompt: missing; the keys are: none"),
        ('{"prompt": "p", "completion": " "}', "FILE:1: completion[0].content: is empty"),
        ('{"prompt": 3, "completion": "c"}', "FILE:1: prompt: must be a text or a list of"),
        ('{"prompt": [{"role": "user"}], "completion": "c"}', "FILE:1: prompt[0]: must be {"),
        ('{"prompt": "p", "completion": "c", "label": 1}', "FILE:1: label: must be true or false"),
        ('{"prompt": "p", "chosen": "c"}', "FILE:1: rejected: missing"),
        ('{"prompt": "p", "chosen": "c", "rejected": "c"}', "FILE:1: rejected: is the same text"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "FILE:1: messages: needs a prompt"),
        (
            '{"prompt": "p", "completion": [{"role": "user", "content": "x"}]}',
            "FILE:1: completion: must be a text, or a list of one message of the assistant",
        ),
        (
            '{"prompt": "p", "completion": "c", "conversation_id": 3}',
            "FILE:1: conversation_id: must be a text, not a number",
        ),
    ],
)
def test_a_faulty_line_is_named_with_its_key(tmp_path: Path, line: str, expected: str) -> None:
    message = fault(tmp_path, line)
    assert message.startswith("FILE: 1 faulty line\n")
    assert expected in message


def written(tmp_path: Path, name: str, data: bytes) -> Curated:
    (tmp_path / name).write_bytes(data)
    return imports.read("care", tmp_path / name, RULES, NOTHING)[0]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = "".join(json.dumps(row) + "\r\n" for row in FILLER)
    assert len(written(tmp_path, "own.jsonl", text.encode("utf-8-sig")).train) == 4


@pytest.mark.parametrize("indent", [None, 1])
def test_one_array_is_read_like_lines(tmp_path: Path, indent: int | None) -> None:
    array = json.dumps(FILLER, indent=indent).encode()
    curated = written(tmp_path, "own.json", array)
    found = {e.target for e in (*curated.train, *curated.rolling)}
    assert found == {row["completion"] for row in FILLER}
    faulty = json.dumps([*FILLER, {"prompt": "p"}], indent=indent)
    assert "FILE:[6]: completion: missing" in fault(tmp_path, faulty)


def test_sharegpt_and_alpaca_are_read(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a",
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "p1"},
                {"from": "gpt", "value": "c1"},
            ],
        },
        {"instruction": "p2", "input": "more", "output": "c2", "system": "s"},
        {"instruction": "p3", "input": "", "output": "c3"},
        {"system": "s", "prompt": "p4", "completion": "c4", "tools": []},
    ]
    curated = read(tmp_path, [*rows, *FILLER])
    both = sorted((*curated.train, *curated.rolling), key=lambda e: e.created_at)
    found = both[:4]
    said = [[(m.role, m.content) for m in e.messages] for e in found]
    assert said == [
        [("system", "s"), ("user", "p1")],
        [("system", "s"), ("user", "p2\n\nmore")],
        [("user", "p3")],
        [("system", "s"), ("user", "p4")],
    ]
    assert [e.target for e in found] == ["c1", "c2", "c3", "c4"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("own.csv", b"prompt,completion\na,b\n", "is CSV, not JSON Lines. Fix: python -c"),
        ("own.txt", b'"prompt"\t"completion"\n', "is CSV, .*delimiter"),
        ("own.parquet", b"PAR1....", "is Parquet, .*from_parquet"),
        ("own.jsonl", '{"a": 1}'.encode("utf-16"), "is UTF-16, .*iconv -f UTF-16"),
        ("own.jsonl.gz", b"\x1f\x8b\x08", "is gzip, .*gunzip"),
        ("own.xlsx", b"PK\x03\x04", "a spreadsheet"),
        ("own.json", b'{\n "prompt": "p",\n "completion": "c"\n}\n', "over several lines, .*jq"),
    ],
)
def test_another_format_is_named_with_the_command_that_converts_it(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        written(tmp_path, name, data)
    assert len(caught.value.message.splitlines()) == 1


def test_the_command_for_csv_makes_a_file_that_is_read(tmp_path: Path) -> None:
    rows = "".join(f'"question {n}","answer, {n}"\n' for n in range(6))
    with pytest.raises(DatasetError) as caught:
        written(tmp_path, "own.csv", b"\xef\xbb\xbfprompt,completion\n" + rows.encode())
    command = caught.value.message.partition("Fix: ")[2].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, timeout=60)
    converted = (tmp_path / "own.jsonl").read_bytes()
    curated = written(tmp_path, "own.jsonl", converted)
    found = {e.target for e in (*curated.train, *curated.rolling)}
    assert found == {f"answer, {n}" for n in range(6)}


ANSWER = '{"role": "assistant", "content": "c"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt": "p", "completion": "\\ud800"}', "holds \\ud800, half of a character"),
        ('{"prompt": "p", "completion": "c", "id": ' + "9" * 5000 + "}", "cannot be read: Exceeds"),
        ('{"prompt": "p", "completion": "c", "label": NaN}', "NaN: is no number"),
        ("[" * 200_000, "FILE:1: "),
        ('{"prompt": "p", "completion": "c", "completion": "d"}', "completion: is there twice"),
        ('{"prompt": "p", "completion": "c", "weight": 2}', "weight: might change what is learned"),
        ('{"prompt": "p", "completion": "c", "tools": [{}]}', "tools: might change"),
        ('{"instruction": "p", "output": "c", "history": [["a", "b"]]}', "history: might change"),
        ('{"prompt": "p", "messages": [' + ANSWER + "}]}", "messages: might change"),
        ('{"prompt": "p", "completion": "c", "chosen": "d"}', "completion: means nothing beside"),
        ('{"prompt": "p", "chosen": "c", "rejected": "d", "label": true}', "label: means nothing"),
        (
            '{"prompt": [{"role": "tool", "content": "x"}], "completion": "c"}',
            "prompt[0]: the role 'tool' is not known; the roles are: system, user",
        ),
        ('{"prompt": "p", "completion": [' + ANSWER + ', "weight": 0}]}', "completion[0].weight"),
        (
            '{"prompt": "p", "completion": [' + ANSWER + ', "tool_calls": [{}]}]}',
            ".tool_calls: would",
        ),
        (
            '{"system": "s", "prompt": [{"role": "system", "content": "t"}], "completion": "c"}',
            "system: the prompt has a system message already",
        ),
    ],
)
def test_what_would_be_lost_or_cannot_be_kept_is_a_fault_of_its_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    message = fault(tmp_path, line)
    assert message.startswith("FILE: 1 faulty line\n")
    assert expected in message


def test_all_faulty_lines_are_reported_together(tmp_path: Path) -> None:
    message = fault(tmp_path, '{"prompt": "p", "completion": "c"}', "", "x", "{}")
    assert message.startswith("FILE: 2 faulty lines\n  FILE:3: is not JSON")
    assert "FILE:4: prompt: missing" in message


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.jsonl: cannot be read"):
        imports.read("care", tmp_path / "none.jsonl", RULES, NOTHING)
    (tmp_path / "own.jsonl").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        imports.read("care", tmp_path / "own.jsonl", RULES, NOTHING)
