"""Where a backup may go back, and where not."""

import asyncio
import json
from pathlib import Path

import pytest

from serving.backup import manifest, restore, take
from serving.errors import ConfigError, Conflict
from serving.store import interactions
from tests.serving.backup.conftest import Place, place


def test_a_store_that_holds_something_is_refused(
    filled: tuple[Place, Place], tmp_path: Path
) -> None:
    old, _ = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    with pytest.raises(ConfigError, match="into an empty one"):
        asyncio.run(restore(old.settings, tmp_path / "b"))
    assert old.with_store(interactions.count) == 3


def test_a_damaged_backup_changes_nothing(filled: tuple[Place, Place], tmp_path: Path) -> None:
    old, new = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    weights = tmp_path / "b" / "adapters" / "care" / "1" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ConfigError, match="was changed"):
        asyncio.run(restore(new.settings, tmp_path / "b"))
    assert not (new.config.parent / "adapters").exists()
    assert new.with_store(interactions.count) == 0


def test_one_of_a_newer_release_is_refused(filled: tuple[Place, Place], tmp_path: Path) -> None:
    old, new = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    file = tmp_path / "b" / manifest.FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"revision": "9999"}))
    with pytest.raises(ConfigError, match="Restore it with that release"):
        asyncio.run(restore(new.settings, tmp_path / "b"))


def test_one_that_was_cut_short_goes_on(filled: tuple[Place, Place], tmp_path: Path) -> None:
    old, new = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    asyncio.run(restore(new.settings, tmp_path / "b"))
    # As if it had ended before the store appeared: adapters, files and journals are there.
    if not new.settings.store.url.startswith("sqlite"):
        pytest.skip("the places are the same for both kinds of database")
    store = new.config.parent / "store.sqlite"
    store.rename(store.with_name(f".{store.name}.restoring"))
    asyncio.run(restore(new.settings, tmp_path / "b"))
    assert new.with_store(interactions.count) == 3


def test_other_bytes_in_a_versions_place_are_kept(
    filled: tuple[Place, Place], tmp_path: Path
) -> None:
    old, new = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    there = new.config.parent / "adapters" / "care" / "1"
    there.mkdir(parents=True)
    (there / "mine").write_text("mine")
    with pytest.raises(Conflict, match="holds something else"):
        asyncio.run(restore(new.settings, tmp_path / "b"))
    assert (there / "mine").read_text() == "mine"


def test_the_other_kind_of_database_is_refused(filled: tuple[Place, Place], tmp_path: Path) -> None:
    old, _ = filled
    asyncio.run(take(old.settings, tmp_path / "b"))
    sqlite = old.settings.store.url.startswith("sqlite")
    url = "postgresql://nobody@127.0.0.1:1/none" if sqlite else f"sqlite:///{tmp_path / 'x.sqlite'}"
    other = place(tmp_path / "other", url)
    with pytest.raises(ConfigError, match="the kind that it came from"):
        asyncio.run(restore(other.settings, tmp_path / "b"))
