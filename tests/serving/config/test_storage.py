"""What is stored of a line: typed, and refused at the start where keys are missing."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from serving.config.settings import Settings
from serving.config.storage import Storage


def test_an_encrypted_journal_needs_keys() -> None:
    raw = {"model": "m", "lobs": {"care": {}}, "journal": {"encrypt": True}}
    with pytest.raises(ValidationError, match=r"keys: missing, and journal\.encrypt needs them"):
        Settings.model_validate(raw)


def test_an_encrypted_store_is_a_file_and_needs_keys_of_which_its_address_says_where(
    tmp_path: Path,
) -> None:
    def of(**raw: object) -> Settings:
        return Settings.model_validate({"model": "m", "lobs": {"care": {}}} | raw)

    with pytest.raises(ValidationError, match=r"keys: missing, and store\.encrypt needs them"):
        of(store={"encrypt": True})
    keys = {"keys": {"file": str(tmp_path / "a key & more")}}
    with pytest.raises(ValidationError, match="encrypt: is for sqlite"):
        of(store={"encrypt": True, "url": "postgresql://host/name"}, storage=keys)
    settings = of(store={"encrypt": True, "url": "sqlite:////data/s.sqlite"}, storage=keys)
    query = parse_qs(urlsplit(settings.store_address).query)
    assert json.loads(query["encryption"][0]) == {"file": str(tmp_path / "a key & more")}
    assert of(store={"url": "sqlite:////d"}, storage=keys).store_address == "sqlite:////d"


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
        ({"names": True}, {}, "names: needs redact"),
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


def test_the_pipeline_of_names_is_a_package_or_a_folder_whose_whole_path_is_kept() -> None:
    assert Storage().absolute().names == "en_core_web_sm"
    assert Storage(names="models/names").absolute().names == str(Path("models/names").absolute())
