"""Who answers for a version, read from its folder; anything unclear is refused."""

from pathlib import Path

import pytest

from serving.adapters import upstreams
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.errors import AdapterRefused
from serving.store.database import Database
from tests import versions

BIG = Other("big", "big-1")


def test_a_folder_without_the_file_is_the_engine_s(tmp_path: Path) -> None:
    assert upstreams.of_folder(tmp_path) is None
    assert Other.of(None) is None


def test_what_is_written_is_read_and_described(tmp_path: Path) -> None:
    upstreams.write(tmp_path, BIG)
    assert upstreams.of_folder(tmp_path) == BIG
    assert BIG.described == {"name": "big", "model": "big-1"}
    assert Other.of(BIG.described) == BIG


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"upstream": "big"}',
        '{"upstream": "big", "model": ""}',
        '{"upstream": 1, "model": "m"}',
        '{"upstream": "big", "model": "m", "url": "http://elsewhere/v1"}',
    ],
)
def test_a_file_that_does_not_say_it_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "upstream.json").write_text(text)
    with pytest.raises(AdapterRefused, match=r"upstream\.json"):
        upstreams.of_folder(tmp_path)


def test_weights_beside_it_are_refused(tmp_path: Path) -> None:
    upstreams.write(tmp_path, BIG)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(AdapterRefused, match="an upstream answers, or the engine does"):
        upstreams.of_folder(tmp_path)


def test_an_upstream_that_is_not_configured_or_for_another_model_is_named() -> None:
    upstreams.check(BIG, {"big": "big-1"})
    with pytest.raises(AdapterRefused, match=r"`upstreams\.big` answers"):
        upstreams.check(BIG, {"small": "big-1"})
    with pytest.raises(AdapterRefused, match=r"`upstreams\.big\.model` is 'big-2'"):
        upstreams.check(BIG, {"big": "big-2"})


async def test_the_registry_keeps_who_answers(sqlite_db: Database, tmp_path: Path) -> None:
    registry = Registry(sqlite_db, str(tmp_path / "adapters"))
    folder = tmp_path / "folder"
    folder.mkdir()
    upstreams.write(folder, BIG)
    name = await versions.register(registry, folder, rank=0)
    version = await registry.get(name)
    assert version is not None
    assert (version.upstream, version.rank) == (BIG.described, 0)
