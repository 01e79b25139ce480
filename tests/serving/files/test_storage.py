"""Bytes under a folder or a URL."""

import asyncio
import io
from pathlib import Path

import fsspec
import pytest

from serving.errors import ConfigError, NotFound, Unavailable
from serving.files.storage import CHUNK_BYTES, FileStorage
from serving.store.files.records import new_id


@pytest.fixture(params=["folder", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "files") if request.param == "folder" else f"memory://{tmp_path}"


async def test_what_was_put_is_read_in_chunks_until_it_is_deleted(uri: str) -> None:
    storage, id_ = FileStorage(uri), new_id("file-")
    content = bytes(range(256)) * (CHUNK_BYTES // 100)
    await storage.put(id_, io.BytesIO(content))
    other = FileStorage(uri)
    chunks = [chunk async for chunk in other.chunks(await other.open(id_))]
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= CHUNK_BYTES
    await other.delete(id_)
    await storage.delete(id_)
    with pytest.raises(NotFound):
        await storage.open(id_)
    filesystem, root = fsspec.core.url_to_fs(uri)
    assert filesystem.find(root) == []


def test_nothing_stays_of_a_local_file_that_could_not_be_written(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk is gone")

    storage = FileStorage(str(tmp_path))
    with pytest.raises(Unavailable) as caught:
        asyncio.run(storage.put(new_id("file-"), Broken()))
    assert "disk" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("id_", ["../secret", "file-1", "file-" + "0" * 32 + "/x", ""])
async def test_only_our_ids_become_paths(tmp_path: Path, id_: str) -> None:
    with pytest.raises(NotFound):
        await FileStorage(str(tmp_path)).open(id_)


def test_an_unknown_kind_of_storage_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"files\.uri"):
        FileStorage("nonsense://bucket")
