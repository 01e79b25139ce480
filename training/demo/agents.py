"""The demo's agents: they work conversations through the server, edit, rate, and never stop.

`replay` is a day's work that the fine-tuning learns from; `Traffic` is the load that runs while
adapters are swapped, and counts what fails.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import openai
from openai.types.chat import ChatCompletion

from training.demo.dialog_files import Dialog
from training.demo.edits import edit_reply, edit_summary, rate, reply_turns

CONCURRENCY = 8
REPLIES_PER_DIALOG = 2


async def replay(
    client: openai.AsyncOpenAI,
    dialogs: Sequence[Dialog],
    *,
    replies: int = REPLIES_PER_DIALOG,
    on_dialog: Callable[[], None] = lambda: None,
) -> int:
    """Work conversations as agents do: ask, edit what is wrong, rate, send feedback.

    Args:
        client: A client of the server.
        dialogs: The conversations, oldest first.
        replies: How many of a conversation's replies, from its middle, are asked for.
        on_dialog: Called after each conversation, for a progress bar.

    Returns:
        How many outputs were given feedback.
    """
    slots = asyncio.Semaphore(CONCURRENCY)

    async def work(dialog: Dialog) -> int:
        async with slots:
            done = await _work(client, dialog, replies)
        on_dialog()
        return done

    return sum(await asyncio.gather(*(work(dialog) for dialog in dialogs)))


async def _work(client: openai.AsyncOpenAI, dialog: Dialog, replies: int) -> int:
    indexes = reply_turns(dialog)
    middle = sorted(indexes, key=lambda i: abs(i - len(dialog.turns) / 2))[:replies]
    for index in sorted(middle):
        answer = await _ask(client, "/suggestions", dialog, index)
        shown = _text(answer)
        await _feed_back(client, answer, shown, edit_reply(dialog, index, shown))
    answer = await _ask(client, "/summaries", dialog, len(dialog.turns))
    shown = _text(answer)
    await _feed_back(client, answer, shown, edit_summary(dialog, shown))
    return len(middle) + 1


async def _ask(client: openai.AsyncOpenAI, path: str, dialog: Dialog, turns: int) -> ChatCompletion:
    body = {
        "lob": dialog.lob,
        "conversation_id": dialog.conversation_id,
        "conversation": [{"role": t.role, "text": t.text} for t in dialog.turns[:turns]],
    }
    return await client.post(path, cast_to=ChatCompletion, body=body)


def _text(answer: ChatCompletion) -> str:
    return (answer.choices[0].message.content or "").strip()


async def _feed_back(
    client: openai.AsyncOpenAI, answer: ChatCompletion, shown: str, final: str
) -> None:
    body: dict[str, Any] = {"id": answer.id, "key": uuid.uuid4().hex, "used": True}
    body |= {"rating": 1.0} if shown == final else {"edit": final, "rating": rate(shown, final)}
    await client.post("/feedback", cast_to=object, body=body)


class Traffic:
    """Streams suggestions without pause, as an async context; counts answers and failures.

    Args:
        client: A client of the server, without retries.
        dialogs: Conversations to ask about, in turn.
        workers: Streams at once.
        pause_s: Rest of a worker between two requests.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        dialogs: Sequence[Dialog],
        *,
        workers: int = 2,
        pause_s: float = 0.25,
    ) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.versions: Counter[str] = Counter()
        self._client = client
        self._dialogs = dialogs
        self._workers = workers
        self._pause_s = pause_s
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(i)) for i in range(self._workers)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _run(self, worker: int) -> None:
        turn = worker
        while not self._stop.is_set():
            dialog = self._dialogs[turn % len(self._dialogs)]
            turn += self._workers
            try:
                await self._stream(dialog)
                self.answered += 1
            except (openai.OpenAIError, ValueError) as exc:
                self.failures.append(f"{dialog.lob}: {exc}")
            await asyncio.sleep(self._pause_s)

    async def _stream(self, dialog: Dialog) -> None:
        transcript = "\n".join(f"{t.role}: {t.text}" for t in dialog.turns[:-1])
        stream = await self._client.chat.completions.create(
            model=dialog.lob,
            messages=[{"role": "user", "content": transcript or "customer: hello"}],
            max_tokens=24,
            stream=True,
        )
        models = set()
        finished = False
        async for chunk in stream:
            models.add(chunk.model)
            finished = finished or chunk.choices[0].finish_reason is not None
        if not finished or len(models) != 1:
            raise ValueError(f"a stream was cut short or mixed versions: {models}")
        self.versions[models.pop()] += 1
