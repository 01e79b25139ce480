"""What is stored of a line: typed, and refused at the start where keys are missing."""

import pytest
from pydantic import ValidationError

from serving.config.settings import Settings


def test_an_encrypted_journal_needs_keys() -> None:
    raw = {"model": "m", "lobs": {"care": {}}, "journal": {"encrypt": True}}
    with pytest.raises(ValidationError, match=r"keys: missing, and journal\.encrypt needs them"):
        Settings.model_validate(raw)


def load(store: dict[str, object], **more: object) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {"store": store}}} | more)


def test_nothing_is_redacted_unless_a_line_says_so() -> None:
    store = Settings.model_validate({"model": "m", "lobs": {"care": {}}}).lobs["care"].store
    assert (store.redact, store.keep_originals) == (False, False)


def test_on_and_off_are_what_yaml_and_people_write() -> None:
    keys = {"keys": {"file": "keys"}}
    assert load({"redact": "on"}, storage=keys).lobs["care"].store.redact
    assert not load({"redact": "off"}).lobs["care"].store.redact


@pytest.mark.parametrize(
    ("store", "storage", "message"),
    [
        ({"redcat": True}, {}, r"lobs\.care\.store\.redcat"),
        ({"redact": "sometimes"}, {}, r"lobs\.care\.store\.redact"),
        ({"keep_originals": True}, {}, "keep_originals: needs redact"),
        ({"redact": True}, {}, r"keys: missing, and lobs\.care\.store\.redact needs them"),
        ({}, {"keys": {}}, "either file or command"),
        ({}, {"keys": {"file": "a", "command": ["b"]}}, "either file or command"),
        ({}, {"key": {"file": "a"}}, r"storage\.key"),
    ],
)
def test_a_fault_names_its_key(
    store: dict[str, object], storage: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        load(store, storage=storage)
