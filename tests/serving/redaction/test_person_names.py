"""Names of people, as a real spaCy pipeline marks them, and what redaction makes of its marks."""

import sys
from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.redaction.conversation import conversation_key, redact
from serving.redaction.person_names import Recogniser, load, words_of
from tests.serving.redaction import pipelines

KEY = conversation_key(b"k" * 32, "care/1")


@pytest.fixture
def names(tmp_path: Path) -> Recogniser:
    return load(pipelines.save(tmp_path / "names", "Maria Lopez", "Ms Lopez", "O'Brien", "Will"))


def test_a_name_becomes_another_of_its_shape_in_all_of_a_conversation(names: Recogniser) -> None:
    texts = ["I am Maria Lopez.", "Ms Lopez, or Maria?", "MARIA LOPEZ it says", "Maria's order"]
    first, second, shouted, owned = redact(texts, KEY, recognise=names).texts
    given, family = first.removeprefix("I am ").removesuffix(".").split()
    assert (len(given), len(family)) == (5, 5)
    assert not {"Maria", "Lopez"} & {given, family}
    assert given.istitle()
    assert second == f"Ms {family}, or {given}?"
    assert shouted == f"{given.upper()} {family.upper()} it says"
    assert owned == f"{given}'s order"


def test_a_known_name_is_replaced_later_without_the_model(names: Recogniser) -> None:
    before = redact(["I am Maria Lopez."], KEY, recognise=names)
    given = before.texts[0].split()[2]
    later = redact(["Maria called, and so did maria."], KEY, before.known)
    assert later.texts == (f"{given} called, and so did maria.",)
    assert redact(before.texts, KEY, before.known, names).texts == before.texts


def test_a_word_that_is_a_name_too_is_one_only_with_a_capital(names: Recogniser) -> None:
    (text,) = redact(["Will will pay the bill."], KEY, recognise=names).texts
    assert text.split()[1:] == ["will", "pay", "the", "bill."]
    assert not text.startswith("Will")


def test_an_apostrophe_stays_where_it_is(names: Recogniser) -> None:
    (text,) = redact(["Ask O'Brien."], KEY, recognise=names).texts
    assert text[5] == "'"
    assert "Brien" not in text


def test_a_form_goes_before_a_name(names: Recogniser) -> None:
    texts = ["Maria Lopez wrote from maria.lopez@mail.com, order number 4471-AB"]
    (text,) = redact(texts, KEY, recognise=names).texts
    assert "@example.com" in text
    assert "4471" not in text


def test_without_a_model_names_stay() -> None:
    assert redact(["I am Maria Lopez."], KEY).texts == ("I am Maria Lopez.",)


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        ("Mr. Jean-Luc Picard's", ["Jean-Luc", "Picard"]),
        ("Order 4471", []),
        ("Hi Maria", ["Maria"]),
        ("J. R. Smith", ["Smith"]),
        ("Thanks", []),
    ],
)
def test_of_what_is_marked_only_the_words_of_a_name_count(marked: str, words: list[str]) -> None:
    assert [marked[s.start : s.end] for s in words_of(marked, 0, len(marked))] == words


def test_a_pipeline_that_is_not_there_is_a_fault_of_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"storage\.names.*no such package"):
        load("no_such_pipeline")
    with pytest.raises(ConfigError, match=r"storage\.names.*no such folder"):
        load(str(tmp_path / "none"))


def test_a_pipeline_that_finds_no_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="finds no people"):
        load(pipelines.save(tmp_path / "cities", "Paris", label="GPE"))


def test_without_spacy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"switchboard\[names\]"):
        load(str(tmp_path))
