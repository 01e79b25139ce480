"""The bytes of files: under one folder or fsspec URL, by id, in bounded memory.

A local file appears by one rename after its bytes are on the disk. Everything here blocks, so it
runs in threads; only ids that we made become part of a path.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from serving.errors import ConfigError, NotFound, Unavailable

CHUNK_BYTES = 1 << 18
_ID = re.compile(r"file-[0-9a-f]{32}")


class FileStorage:
    """The place of all files.

    Args:
        uri: A folder, which every replica must see, or any fsspec URL.

    Raises:
        ConfigError: There is no such kind of filesystem, or its package is not installed.
    """

    def __init__(self, uri: str) -> None:
        try:
            self._filesystem, root = url_to_fs(uri)
        except (ImportError, ValueError) as exc:
            raise ConfigError(f"files.uri: {uri} cannot be used: {exc}", param="files.uri") from exc
        self._root = root.rstrip("/")
        self._local = isinstance(self._filesystem, LocalFileSystem)

    async def put(self, id_: str, source: IO[bytes]) -> None:
        """Write a file, whole or not at all, from a source that stands at its beginning.

        Raises:
            Unavailable: It cannot be written.
        """
        await asyncio.to_thread(self._put, id_, source)

    async def delete(self, id_: str) -> None:
        """Remove a file's bytes; one that is gone already is no fault.

        Raises:
            Unavailable: They cannot be removed.
        """
        await asyncio.to_thread(self._delete, id_)

    async def open(self, id_: str) -> IO[bytes]:
        """Open a file for reading; use it in threads.

        Raises:
            NotFound: Its bytes are not there.
            Unavailable: They cannot be read.
        """
        return await asyncio.to_thread(self._open, id_)

    async def chunks(self, file: IO[bytes]) -> AsyncIterator[bytes]:
        """Give an open file's bytes, and close it."""
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            await asyncio.to_thread(file.close)

    def _path(self, id_: str) -> str:
        if not _ID.fullmatch(id_):
            raise NotFound(f"There is no file {id_[:128]}.", param="file_id")
        return f"{self._root}/{id_}"

    def _put(self, id_: str, source: IO[bytes]) -> None:
        path = self._path(id_)
        with _unavailable("written"):
            if not self._local:
                self._filesystem.makedirs(self._root, exist_ok=True)
                with self._filesystem.open(path, "wb") as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
                return
            part = Path(f"{path}.part")
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            folder = os.open(part.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _open(self, id_: str) -> IO[bytes]:
        path = self._path(id_)
        with _unavailable("read"):
            try:
                file: IO[bytes] = self._filesystem.open(path, "rb")
            except FileNotFoundError:
                raise NotFound(f"The bytes of {id_} are gone.", param="file_id") from None
            return file

    def _delete(self, id_: str) -> None:
        path = self._path(id_)
        with _unavailable("removed"):
            for name in (path, f"{path}.part"):
                try:
                    self._filesystem.rm_file(name)
                except FileNotFoundError:
                    continue


@contextmanager
def _unavailable(done: str) -> Iterator[Any]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(
            f"A file cannot be {done} now. Try again.", reason=f"{type(exc).__name__}: {exc}"
        ) from exc
