import json
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


def test_the_last_conversations_are_held_out_whole(tmp_path: Path) -> None:
    rows = [{**row, "conversation_id": f"c{n // 2}"} for n, row in enumerate(FILLER)]
    curated = read(tmp_path, rows)
    assert len(curated.train) == 2
    assert {e.conversation_id[-2:] for e in curated.rolling} == {"c1", "c2"}
    assert all(e.interaction_id.startswith("import-") for e in curated.train)


def test_the_same_prompt_is_one_conversation(tmp_path: Path) -> None:
    rows = [{"prompt": "same", "completion": f"answer {n}"} for n in range(3)]
    curated = read(tmp_path, [*rows, *FILLER])
    assert len({e.conversation_id for e in curated.train[:3]}) == 1


def test_imports_are_redacted_and_deduplicated(tmp_path: Path) -> None:
    twice = {"prompt": "I am a@example.com", "completion": "Mail to a@example.com."}
    curated = read(tmp_path, [twice, twice, *FILLER])
    assert curated.train[0].target == "Mail to [EMAIL]."
    assert curated.redactions == {"email": 6}  # prompt, shown and target, twice
    assert next(f.dropped for f in curated.filters if f.name == "distinct") == 1


def test_what_nearly_repeats_the_golden_set_is_not_learned_from(tmp_path: Path) -> None:
    said = (Message("user", "question 10"),)
    golden = Example("g", "g", 1.0, "chat", None, None, "edit", said, "", "answer 10")
    curated = read(tmp_path, FILLER, Past(golden=(golden,), golden_id="id"))
    assert "answer 10" not in [e.target for e in (*curated.train, *curated.rolling)]
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
