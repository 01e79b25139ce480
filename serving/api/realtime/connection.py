"""One session: reads events at once, transcribes one turn at a time, and writes in order.

Reading never waits for a transcription, so that what a client sends lies here, where it is bounded,
and not in front of us. A client that does not read what it gets is cut off.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket

from serving import errors
from serving.api.realtime import events
from serving.api.realtime.ending import Ended, Outcome, why
from serving.api.realtime.session import Session
from serving.api.realtime.turn import Turn
from serving.config.transcription.sections import Transcription
from serving.observability import metrics
from serving.transcription.whisper import Options, Segment, Transcriber

logger = logging.getLogger(__name__)

EVENT_BYTES = 15 << 20
"""OpenAI's limit of an event; uvicorn itself closes at 16 MiB."""
LEAST_S = 0.1
"""A turn is no shorter; OpenAI's."""
OUTGOING = 256
CLOSE_S = 2.0
WORDS_BEFORE = 40
"""So many words that were confirmed before stand before what is heard next."""


class Connection:
    """A session's connection, accepted.

    Args:
        socket: It.
        transcriber: What transcribes.
        settings: Its section.
        session: What the session is set to at first.
        count: Counts a turn as a call of the key's; raises where it may not ask any more.
        stopping: Set where the server stops: the turn that is under way is the last.
        cut: Set where it stops now.
    """

    def __init__(
        self,
        socket: WebSocket,
        transcriber: Transcriber,
        settings: Transcription,
        session: Session,
        *,
        count: Callable[[], None],
        stopping: asyncio.Event,
        cut: asyncio.Event,
    ) -> None:
        self._socket = socket
        self._transcriber = transcriber
        self._its = settings
        self._session = session
        self._count = count
        self._stopping = stopping
        self._cut = cut
        self._turn = Turn(session.rate)
        self._committed: deque[tuple[Turn, Session]] = deque()
        self._previous: str | None = None
        self._transcribing = False
        self._changed = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(OUTGOING)

    async def run(self) -> Outcome:
        """Answer until one side ends it; returns how."""
        self._emit(events.made("session.created", session=self._session.shown()))
        parts = (self._read(), self._write(), self._transcribe(), self._watch())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = why([task.exception() for task in done])
        except asyncio.CancelledError:
            await self._end(tasks, Ended("drained", 1001, "The server stops."))
            raise
        await self._end(tasks, ended)
        return ended.outcome

    async def _end(self, tasks: list[asyncio.Task[None]], ended: Ended) -> None:
        for task in tasks:
            task.cancel()
        if ended.outcome != "closed":
            with suppress(Exception):  # whatever comes of writing to who may have left
                async with asyncio.timeout(CLOSE_S):
                    while not self._outgoing.empty():
                        await self._send(self._outgoing.get_nowait())
                    await self._socket.close(ended.code, ended.reason)
        await asyncio.wait(tasks)

    def _emit(self, event: dict[str, Any]) -> None:
        try:
            self._outgoing.put_nowait(event)
        except asyncio.QueueFull as exc:
            raise Ended("refused", 1008, "What is sent is not read.") from exc

    async def _send(self, event: dict[str, Any]) -> None:
        await self._socket.send_text(orjson.dumps(event).decode())

    async def _write(self) -> None:
        while True:
            event = await self._outgoing.get()
            await self._send(event)
            self._outgoing.task_done()

    async def _watch(self) -> None:
        """End the session when the server stops: after the turn that is under way, or if cut."""
        await self._stopping.wait()
        settled = asyncio.create_task(self._settled())
        cut = asyncio.create_task(self._cut.wait())
        try:
            await asyncio.wait({settled, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()
            cut.cancel()
        raise Ended("drained", 1001, "The server stops.")

    async def _settled(self) -> None:
        while self._busy or self._turn.seconds:
            self._at_rest.clear()
            await self._at_rest.wait()
        await self._outgoing.join()

    @property
    def _busy(self) -> bool:
        return self._transcribing or bool(self._committed)

    async def _read(self) -> None:
        limit = min(self._its.max_bytes, EVENT_BYTES)
        while True:
            try:
                async with asyncio.timeout(self._its.idle_s):
                    message = await self._socket.receive()
            except TimeoutError as exc:
                if self._busy:
                    continue  # it waits for us
                raise Ended("idle", 1000, "Nothing was sent.") from exc
            if message["type"] == "websocket.disconnect":
                raise Ended("closed", 1000)
            try:
                self._take(events.parse(message.get("text") or "", limit))
            except events.RefusedEvent as exc:
                self._emit(events.error(exc.error, exc.event_id))
                if exc.error.status == 401:
                    raise Ended("refused", 1008, exc.error.message) from exc

    def _take(self, event: events.ClientEvent) -> None:
        try:
            if isinstance(event, events.Append):
                self._append(event.samples())
            elif isinstance(event, events.Commit):
                self._commit()
            elif isinstance(event, events.Clear):
                self._clear()
                self._emit(events.made("input_audio_buffer.cleared"))
            else:
                self._update(event)
        except errors.SwitchboardError as exc:
            raise events.RefusedEvent(exc, event.event_id) from exc

    def _update(self, event: events.Update | events.OlderUpdate) -> None:
        changed = self._session.changed(event.session)
        self._transcriber.check(changed.model)
        self._transcriber.check_language(changed.language)
        if changed.rate != self._turn.rate:
            if self._turn.seconds:
                raise errors.InvalidRequest(
                    "The rate changes between two turns only: commit or clear this one first.",
                    param="session.audio.input.format.rate",
                )
            self._turn = Turn(changed.rate)
        self._session = changed
        if isinstance(event, events.Update):
            self._emit(events.made("session.updated", session=changed.shown()))
        else:
            shown = changed.shown_older()
            self._emit(events.made("transcription_session.updated", session=shown))

    def _append(self, samples: bytes) -> None:
        waiting = sum(turn.kept_s for turn, _ in self._committed)
        more = len(samples) / (2 * self._turn.rate)
        if waiting + self._turn.kept_s + more > self._its.max_turn_s:
            raise errors.BodyTooLarge(
                f"More than {self._its.max_turn_s:g} s would wait to be transcribed; this was not "
                "taken.",
                param="audio",
            )
        if self._turn.seconds + more > self._its.max_audio_s:
            raise errors.BodyTooLarge(
                f"The turn is longer than {self._its.max_audio_s:g} s; this was not taken.",
                param="audio",
            )
        self._turn.append(samples)
        self._changed.set()

    def _commit(self) -> None:
        if self._turn.seconds < LEAST_S:
            raise errors.InvalidRequest(
                f"A turn has at least {LEAST_S * 1000:g} ms; this one has "
                f"{self._turn.seconds * 1000:g}."
            )
        self._count()
        turn, self._turn = self._turn, Turn(self._session.rate)
        metrics.REALTIME_SECONDS.inc(turn.seconds)
        before, self._previous = self._previous, turn.item_id
        self._committed.append((turn, self._session))
        self._emit(
            events.made(
                "input_audio_buffer.committed", item_id=turn.item_id, previous_item_id=before
            )
        )
        self._changed.set()

    def _clear(self) -> None:
        self._turn.dropped = True
        self._turn = Turn(self._session.rate)
        self._at_rest.set()

    async def _transcribe(self) -> None:
        """Transcribe what is committed, and else what is being said."""
        while True:
            self._changed.clear()
            turn, waits_s = self._turn, self._its.partial_every_s
            if self._committed:
                self._transcribing = True
                await self._finish(*self._committed.popleft())
                self._transcribing = False
                self._at_rest.set()
            elif turn.seconds - turn.heard_s < waits_s:
                await self._changed.wait()
            elif self._transcriber.idle:  # else recordings and turns that are over go first
                await self._hear(turn)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(waits_s):
                        await self._changed.wait()

    async def _hear(self, turn: Turn) -> None:
        seconds = turn.seconds
        try:
            segments = await self._segments(turn, self._session)
        except errors.SwitchboardError:
            turn.heard_s = seconds  # the next comes, and the last one says what is wrong
            return
        if not turn.dropped and (more := turn.heard(segments, seconds)):
            self._emit(events.delta(turn.item_id, more))

    async def _finish(self, turn: Turn, session: Session) -> None:
        try:
            segments = await self._segments(turn, session)
        except errors.SwitchboardError as exc:
            self._emit(events.failed(turn.item_id, exc))
            return
        except Exception:  # the library's
            logger.exception("a turn was not transcribed")
            mistake = errors.SwitchboardError("The server made a mistake; it is logged.")
            self._emit(events.failed(turn.item_id, mistake))
            return
        if more := turn.heard(segments, turn.seconds, last=True):
            self._emit(events.delta(turn.item_id, more))
        self._emit(events.completed(turn.item_id, turn.known.text, turn.seconds))

    async def _segments(self, turn: Turn, session: Session) -> tuple[Segment, ...]:
        before = [session.prompt or "", *turn.said_before.split()[-WORDS_BEFORE:]]
        prompt = " ".join(before).strip() or None
        options = Options(language=session.language, prompt=prompt, words=True)
        return (await self._transcriber.transcribe(turn.pcm(), options)).segments
