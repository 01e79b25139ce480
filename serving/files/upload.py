"""An upload's way from its bytes to a file that is checked and kept."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

from starlette.datastructures import Headers, UploadFile

from serving.asgi import Receive
from serving.errors import Conflict, InvalidRequest
from serving.files import form as forms
from serving.files import lines
from serving.files.storage import FileStorage
from serving.store.database import Database, storable
from serving.store.files import files
from serving.store.files.records import FileRecord, new_id, scope_of

NAME_LIMIT = 255


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What an upload may take: a file, all files of a key, a line; bytes. And the days it stays."""

    file: int
    quota: int
    line: int
    days: float | None = None


class Files:
    """Files of clients and of batches.

    Args:
        db: The store.
        storage: Where the bytes lie.
        limits: What an upload may take.
    """

    def __init__(self, db: Database, storage: FileStorage, limits: FileLimits) -> None:
        self.db = db
        self.storage = storage
        self.limits = limits

    async def upload(
        self, headers: Headers, receive: Receive, key_id: str, lobs: tuple[str, ...]
    ) -> FileRecord:
        """Take a multipart form with `purpose` and `file`.

        Args:
            headers: The request's.
            receive: Its body, which is not read yet.
            key_id: Who uploads.
            lobs: The key's lines, to which the file then belongs.

        Raises:
            InvalidRequest: The form or a line is wrong; names the first lines at fault.
            BodyTooLarge: The file, or all files of the key, would be too large.
            UnsupportedEncoding: The body is compressed.
            Unavailable: The bytes cannot be written.
            Disconnected: The client left.
        """
        form = await forms.read(headers, receive, self.limits.file, "`purpose` and `file`")
        try:
            purpose, sent = form.get("purpose"), form.get("file")
            if purpose not in lines.PURPOSES:
                raise InvalidRequest(
                    f"`purpose` must be one of {', '.join(lines.PURPOSES)}.", param="purpose"
                )
            if not isinstance(sent, UploadFile):
                raise InvalidRequest("`file` must be a file of the form.", param="file")
            unknown = set(form) - {"purpose", "file"}
            if unknown:
                name = sorted(unknown)[0][:64]
                raise InvalidRequest(f"The field `{name}` is unknown.", param=name)
            source = cast(IO[bytes], sent.file)
            found = await asyncio.to_thread(
                lines.examine,
                purpose,
                lines.bounded(source, self.limits.line),
                self.limits.line,
            )
            if found.faults:
                raise InvalidRequest(f"The file: {lines.refusal(found.faults)}", param="file")
            record = FileRecord(
                id=new_id("file-"),
                key_id=key_id,
                scope=scope_of(lobs),
                purpose=purpose,
                filename=storable((sent.filename or "upload.jsonl")[:NAME_LIMIT]),
                bytes=sent.size or 0,
                lines=found.lines,
                urls=sorted(found.urls),
            )
            await asyncio.to_thread(source.seek, 0)
            return await self.keep(record, source, self.limits.quota)
        finally:
            await form.close()

    async def keep(
        self, record: FileRecord, source: IO[bytes], quota_bytes: int | None = None
    ) -> FileRecord:
        """Write a file's bytes and show it; nothing stays of one that cannot be written.

        Raises:
            BodyTooLarge: The key's files would take more than its quota.
            Unavailable: The bytes cannot be written.
        """
        await files.reserve(self.db, record, quota_bytes)
        try:
            await self.storage.put(record.id, source)
        except BaseException:
            await self._remove(record.id)
            raise
        return await files.finish(self.db, record.id)

    async def delete(self, id_: str) -> None:
        """Remove a file with its bytes.

        Raises:
            Conflict: A batch or a fine-tuning job reads it.
            Unavailable: Its bytes cannot be removed now; it is shown no more, and they will be.
        """
        await files.hide(self.db, id_)
        await self._remove(id_)

    async def sweep(self) -> None:
        """Remove what a crash left half written or half deleted, and what is too old."""
        if self.limits.days is not None:
            for id_ in await files.aged(self.db, self.limits.days):
                with suppress(Conflict):  # a batch has begun to read it
                    await files.hide(self.db, id_)
        for id_ in await files.leftovers(self.db):
            await self._remove(id_)

    async def _remove(self, id_: str) -> None:
        await self.storage.delete(id_)
        await files.forget(self.db, id_)
