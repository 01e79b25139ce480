"""One batch from where it stands to its files.

Every line's result is durable before it counts, so a worker that dies costs at most the lines that
it was asking; whoever goes on asks only those without a result.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from typing import IO

import orjson

from serving.auth import ApiKey
from serving.batches import results
from serving.errors import BodyTooLarge
from serving.files import lines
from serving.files.upload import Files
from serving.gateway.direct import Answer, refused
from serving.store.files import batches
from serving.store.files import files as stored
from serving.store.files.records import BatchRecord, FileRecord

CHECK_S = 0.5
"""Between two looks whether a batch is cancelled or its window has ended."""
PLACE_S = (0.02, 1.0)
"""The first pause of a line that found no place, and the longest."""
DOWN_S = (0.5, 30.0)
"""The same where what must answer is down."""
DOWN_ATTEMPTS = 10
READ_LINES = 64

Ask = Callable[[ApiKey, str, bytes, str], Awaitable[Answer]]
"""Answers a line: key, endpoint, body, the request's id."""
Caller = Callable[[str], ApiKey | None]
"""The key in force by its id."""


class KeyGone(Exception):
    """The key that made the batch is revoked or expired."""


class BatchRun:
    """Works on one batch, whose lease somebody else holds on to.

    Args:
        files: Where its lines are read and its results written.
        ask: The gateway.
        caller: Finds the key that made the batch.
        width: How many lines may be asked at once.
    """

    def __init__(self, files: Files, ask: Ask, caller: Caller, width: Callable[[], int]) -> None:
        self._files = files
        self._db = files.db
        self._ask = ask
        self._caller = caller
        self._width = width

    async def run(self, id_: str) -> None:
        """Take a batch to its end.

        Raises:
            StoreUnavailable: The store does not answer; the batch goes on from there later.
            Unavailable: A file cannot be read or written now.
        """
        await batches.move(self._db, id_, ("validating",), "in_progress")
        batch = await batches.get(self._db, id_)
        errors = []
        if batch.status == "in_progress" and not batch.expired:
            try:
                await self._answer_until_told(batch)
            except KeyGone:
                errors = [{"code": "key_revoked", "message": "The batch's key is not in force."}]
            batch = await batches.get(self._db, id_)
        if batch.status == "in_progress":
            if errors:
                return await self._end(batch, "failed", errors=errors)
            if len(await batches.done(self._db, id_)) < batch.total:
                if not batch.expired:  # told to stop, and by now there is nothing to be told
                    return None
                await self._expire(batch)
                return await self._end(batch, "expired")
            await batches.move(self._db, id_, ("in_progress",), "finalizing")
            batch = await batches.get(self._db, id_)
        if batch.status == "finalizing":
            await self._end(batch, "completed")
        elif batch.status == "cancelling":
            await self._end(batch, "cancelled")
        return None

    async def _answer_until_told(self, batch: BatchRecord) -> None:
        """Answer lines until all are, or the batch is cancelled or expired."""
        answering = asyncio.create_task(self._answer(batch))
        try:
            while not answering.done():
                await asyncio.wait({answering}, timeout=CHECK_S)
                if not await batches.goes_on(self._db, batch.id):
                    return
            answering.result()
        finally:
            answering.cancel()
            await asyncio.wait({answering})

    async def _answer(self, batch: BatchRecord) -> None:
        done = await batches.done(self._db, batch.id)
        running: set[asyncio.Task[None]] = set()
        source = await self._files.storage.open(batch.input_file_id)
        try:
            async for number, line in self._lines(source):
                if number in done:
                    continue
                while len(running) >= self._width():
                    running = await _some_end(running)
                running.add(asyncio.create_task(self._line(batch, number, line)))
            while running:
                running = await _some_end(running)
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            await asyncio.to_thread(source.close)

    async def _line(self, batch: BatchRecord, number: int, line: bytes | None) -> None:
        if line is None:
            answer, custom_id, id_ = refused(BodyTooLarge("The line is too long.")), "", ""
        else:
            value = orjson.loads(line)
            custom_id, body = value["custom_id"], orjson.dumps(value["body"])
            answer, id_ = await self._persistently(batch, number, body)
        kept = results.answered(batch.id, number, custom_id, id_, answer)
        await batches.keep(self._db, batch.id, number, ok=answer.status == 200, body=kept)

    async def _persistently(
        self, batch: BatchRecord, number: int, body: bytes
    ) -> tuple[Answer, str]:
        """Ask a line until there is a place and what answers is there; its request's id, too."""
        attempt, (place_s, longest_s), (down_s, slowest_s) = 0, PLACE_S, DOWN_S
        while True:
            if (key := self._caller(batch.key_id)) is None:
                raise KeyGone
            id_ = results.request_id(batch.id, number, attempt)
            answer = await self._ask(key, batch.endpoint, body, id_)
            if answer.status == 429:
                await asyncio.sleep(place_s)
                place_s = min(2 * place_s, longest_s)
            elif answer.status == 503 and attempt < DOWN_ATTEMPTS:
                attempt += 1  # what failed may be captured by this id
                await asyncio.sleep(down_s)
                down_s = min(2 * down_s, slowest_s)
            else:
                return answer, id_

    async def _expire(self, batch: BatchRecord) -> None:
        """Note every line without a result as expired."""
        done = await batches.done(self._db, batch.id)
        source = await self._files.storage.open(batch.input_file_id)
        try:
            async for number, line in self._lines(source):
                if number not in done:
                    custom_id = "" if line is None else orjson.loads(line)["custom_id"]
                    kept = results.expired(batch.id, number, custom_id)
                    await batches.keep(self._db, batch.id, number, ok=False, body=kept)
        finally:
            await asyncio.to_thread(source.close)

    async def _lines(self, source: IO[bytes]) -> AsyncIterator[tuple[int, bytes | None]]:
        """Give the numbers and lines of a file that are not blank, read in threads."""
        numbered = enumerate(lines.bounded(source, self._files.limits.line), 1)
        while some := await asyncio.to_thread(lambda: list(islice(numbered, READ_LINES))):
            for number, line in some:
                if line is None or line.strip():
                    yield number, line

    async def _end(
        self, batch: BatchRecord, status: str, errors: list[dict[str, str]] | None = None
    ) -> None:
        """Write the files and set the final status, unless another worker has."""
        output, completed = await self._write(batch, results.OUTPUT, ok=True)
        error, failed = await self._write(batch, results.ERRORS, ok=False)
        await batches.move(
            self._db,
            batch.id,
            (batch.status,),
            status,
            output_file_id=output,
            error_file_id=error,
            completed=completed,
            failed=failed,
            errors=errors or [],
        )

    async def _write(self, batch: BatchRecord, kind: str, *, ok: bool) -> tuple[str | None, int]:
        """Write the results of one kind; the file's id, and how many; no file for none."""
        count, size = 0, 0
        with tempfile.TemporaryFile() as spool:
            async for line in batches.results(self._db, batch.id, ok=ok):
                count, size = count + 1, size + len(line)
                await asyncio.to_thread(spool.write, line)
            if not count:
                return None, 0
            spool.seek(0)
            record = FileRecord(
                id=results.file_id(batch.id, kind),
                key_id=batch.key_id,
                scope=batch.scope,
                purpose=lines.OUTPUT,
                filename=f"{batch.id}_{kind}.jsonl",
                bytes=size,
                lines=count,
            )
            await stored.forget(self._db, record.id)  # a worker that died may have written it
            await self._files.keep(record, spool)
        return record.id, count


async def _some_end(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until a line is done; returns the others. Raises what it raised."""
    done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in done if task.exception() is not None]
    if failed:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        failed[0].result()
    return left
