import sys
from pathlib import Path

import pytest

from serving.config.storage import StorageKeys
from serving.encryption import keyring
from serving.errors import ConfigError


def test_the_last_line_is_the_newest_and_all_open() -> None:
    lines = [keyring.new_line("2025"), "# a remark", "", keyring.new_line("2026")]
    ring = keyring.parse("\n".join(lines))
    assert ring.newest == "2026"
    assert ring.derived("2025", "journal") != ring.derived("2026", "journal")
    assert ring.derived("2025", "journal") != ring.derived("2025", "vault")
    assert len(ring.derived("2025", "vault")) == 32


def test_keys_are_not_shown() -> None:
    line = keyring.new_line("a")
    ring = keyring.parse(line)
    assert str(ring.keys["a"]) not in repr(ring)
    with pytest.raises(ConfigError) as refused:
        keyring.parse(line[:-5])
    assert line[2:20] not in str(refused.value)


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(keyring.KeyMissing) as refused:
        keyring.parse(keyring.new_line("new")).derived("old", "journal")
    assert "no key 'old'; it has new" in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing", "a:c2hvcnQ=", "no colon", "a b:xx"])
def test_what_is_no_key_is_refused_by_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match="vault new-key"):
        keyring.parse(text)


def test_an_id_is_there_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        keyring.parse(f"{keyring.new_line('a')}\n{keyring.new_line('a')}")


def test_keys_come_from_a_file_or_a_command(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(keyring.new_line("a") + "\n")
    from_file = keyring.read(StorageKeys(file=file))
    program = [sys.executable, "-c", f"print(open({str(file)!r}).read())"]
    assert keyring.read(StorageKeys(command=program)).keys == from_file.keys


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (StorageKeys(file=Path("/nowhere/keys")), "No such file"),
        (StorageKeys(command=["/nowhere/program"]), "No such file"),
        (StorageKeys(command=[sys.executable, "-c", "raise SystemExit(3)"]), "ended with 3"),
    ],
)
def test_a_source_that_fails_is_a_fault_of_the_configuration(
    source: StorageKeys, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        keyring.read(source)
