"""Files become entries, or a fault that names its line."""

from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from serving.knowledge import reading
from serving.knowledge.splitting import PASSAGE_LIMIT


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_s_documents_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "kb/b.html", "<h1>Shipping</h1><p>Three days.</p>")
    write(tmp_path / "kb/a/returns.md", "Ask first.\n# Returns\n30 days.\n# Returns\n14 days.\n")
    line = '{"id": "x1", "title": "X", "text": "Ex.", "url": "https://x"}\n'
    write(tmp_path / "kb/c.jsonl", line)
    write(tmp_path / "kb/notes.txt", "not read")
    found = reading.passages(tmp_path / "kb")
    assert [(one.id, one.title, one.text, one.url) for one in found] == [
        ("a/returns.md#returns", "returns", "Ask first.", None),
        ("a/returns.md#returns-2", "Returns", "30 days.", None),
        ("a/returns.md#returns-3", "Returns", "14 days.", None),
        ("b.html#shipping", "Shipping", "Three days.", None),
        ("x1", "X", "Ex.", "https://x"),
    ]


def test_a_long_text_becomes_several_passages_with_ids_of_their_own(tmp_path: Path) -> None:
    long = "word " * 500
    file = write(tmp_path / "k.jsonl", f'{{"id": "k", "title": "K", "text": "{long}"}}')
    found = reading.passages(file)
    assert [one.id for one in found] == ["k-1", "k-2", "k-3"]
    assert all(len(one.text) <= PASSAGE_LIMIT for one in found)
    page = reading.passages(write(tmp_path / "p.md", f"# Long\n{long}"))
    assert [one.id for one in page] == ["p.md#long", "p.md#long-2", "p.md#long-3"]


def test_responses_are_read_from_a_table_and_from_lines(tmp_path: Path) -> None:
    table = write(
        tmp_path / "r.csv",
        'title,text,tags,agent\nGreeting,"Hello {customer_name},\nhow can I help?",hi; hello,\n'
        "Greeting,Hi!,,kim\n",
    )
    first, second = reading.responses(table)
    assert (first.id, first.tags, first.agent) == ("greeting", ["hi", "hello"], None)
    assert first.text == "Hello {customer_name},\nhow can I help?"
    assert (second.id, second.tags, second.agent) == ("greeting-2", [], "kim")
    lines = write(tmp_path / "r.jsonl", '{"title": "Bye", "text": "Goodbye.", "tags": ["end"]}\n')
    (only,) = reading.responses(lines)
    assert (only.id, only.tags) == ("bye", ["end"])


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("k.jsonl", '{"id": "a", "title": "A", "text": "x"}\n{"id": ', "line 2: no JSON"),
        ("k.jsonl", "[1]\n", "line 1: not an object"),
        ("k.jsonl", '{"id": "a", "title": "A"}\n', "line 1: text: "),
        ("k.jsonl", '{"id": "a", "title": "A", "text": " "}\n', "line 1: text is empty"),
        ("k.jsonl", '{"id": "a", "title": "A", "text": "x", "txet": 1}\n', "unknown: txet"),
        ("k.md", " \n", "nothing in it"),
        ("k.docx", "x", r"\.html, \.jsonl and \.json"),
    ],
)
def test_a_faulty_file_of_knowledge_is_refused_by_its_line(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        reading.passages(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("r.csv", "title,body\na,b\n", "no column text"),
        ("r.csv", "title,text\na,b,c\n", "line 2: more values"),
        ("r.csv", "title,text\na,\n", "line 2: text: "),
        ("r.csv", "title,text,lang\na,b,en\n", "unknown: lang"),
        ("r.csv", f"title,text\na,{'x' * 4001}\n", "more than 4000"),
        ("r.md", "x", "csv or a .jsonl"),
    ],
)
def test_a_faulty_file_of_responses_is_refused_by_its_line(
    tmp_path: Path, name: str, text: str, fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        reading.responses(write(tmp_path / name, text))


def test_a_file_that_is_not_there_or_no_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        reading.passages(tmp_path / "none.md")
    (tmp_path / "l.md").write_bytes(b"caf\xe9")
    with pytest.raises(InvalidRequest, match="cannot be read as UTF-8"):
        reading.passages(tmp_path / "l.md")
