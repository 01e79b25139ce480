import pytest

from serving.encryption import keyring
from serving.encryption.keyring import KeyMissing, Keyring
from serving.encryption.sealing import MARK, Sealer


def ring(*ids: str) -> Keyring:
    return keyring.parse("\n".join(map(keyring.new_line, ids)))


def test_what_is_sealed_opens_and_is_not_to_be_seen() -> None:
    sealer = Sealer(ring("a"), "journal")
    sealed = sealer.seal(b'{"a secret": 1}', b"c-1")
    assert sealed.startswith(MARK)
    assert b"secret" not in sealed
    assert sealer.open(sealed, b"c-1") == b'{"a secret": 1}'
    assert sealer.seal(b"x") != sealer.seal(b"x")


def test_old_keys_open_and_the_newest_seals() -> None:
    keys = ring("old", "new")
    before = Sealer(Keyring({"old": keys.keys["old"]}), "journal").seal(b"text")
    assert Sealer(keys, "journal").open(before) == b"text"
    assert Sealer(keys, "journal").seal(b"text")[2:5] == b"new"


@pytest.mark.parametrize("keys", [None, ring("other"), ring("a")])
def test_without_the_right_key_nothing_opens(keys: Keyring | None) -> None:
    sealed = Sealer(ring("a"), "journal").seal(b"text")
    with pytest.raises(KeyMissing, match=r"'a'"):
        Sealer(keys, "journal").open(sealed)


def test_other_purposes_associated_data_and_changed_bytes_do_not_open() -> None:
    keys = ring("a")
    sealed = Sealer(keys, "journal").seal(b"text", b"c-1")
    with pytest.raises(KeyMissing):
        Sealer(keys, "vault").open(sealed, b"c-1")
    with pytest.raises(KeyMissing):
        Sealer(keys, "journal").open(sealed, b"c-2")
    for place in range(3, len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(KeyMissing):
            Sealer(keys, "journal").open(changed, b"c-1")
    with pytest.raises(KeyMissing):
        Sealer(keys, "journal").open(sealed[:10], b"c-1")


def test_what_is_not_sealed_comes_back_as_it_is() -> None:
    assert Sealer(None, "journal").open(b'{"id": 1}') == b'{"id": 1}'
    with pytest.raises(KeyMissing):
        Sealer(None, "journal").seal(b"x")
