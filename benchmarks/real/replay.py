"""Replay STAR's agents against a running server, as their desktop would have talked to it.

    SWITCHBOARD_API_KEY=… python benchmarks/real/replay.py --url http://127.0.0.1:8000 \\
        --lines hotel,bank [--dialogs 20] [--star FILE]

Each line's dialogs, reply by reply in the order of the real clock: a suggestion is asked for with
the conversation so far, then one batch of events says what became of it, with the real times. What
the agent sent is known and our suggestion is not the one that they saw; so the agent takes ours
where that spares keystrokes (`figures.keystrokes_saved`), mends it into what was really sent, and
types otherwise. The server must know the lines and the key have the role service.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from figures import keystrokes_saved

from serving import endpoints
from training.data.formats import star
from training.data.formats.star import Reply, StarDialog


def in_order(dialogs: Sequence[StarDialog]) -> list[tuple[StarDialog, Reply]]:
    """Return all replies that follow something, by the time at which they were sent."""
    found = [(d, r) for d in dialogs for r in d.replies if r.turn and r.text.strip()]
    return sorted(found, key=lambda pair: (pair[1].at, pair[0].id))


def events(response_id: str, shown: str, reply: Reply) -> list[dict[str, Any]]:
    """Return what a desktop reports of one reply, oldest first.

    Args:
        response_id: The suggestion's id.
        shown: Its text.
        reply: What the agent really sent, and when.
    """
    drafts = reply.drafts
    seen_at = drafts[-1].at if drafts else reply.asked_at or reply.at
    happened: list[dict[str, Any]] = [{"type": "displayed", "at": seen_at}]
    if keystrokes_saved(shown, reply.text) > 0:
        happened.append({"type": "inserted", "at": reply.at, "index": 0, "rank": 0})
        if shown.strip() != reply.text.strip():
            happened.append({"type": "edited", "at": reply.at, "index": 0, "text": reply.text})
        happened.append({"type": "sent", "at": reply.at, "index": 0, "text": reply.text})
    else:
        typed: dict[str, Any] = {"type": "typed", "at": reply.at, "text": reply.text}
        happened.append(typed | ({"draft": drafts[-1].text} if drafts else {}))
    return [
        {"event_id": f"{response_id}-{number}", "id": response_id} | event
        for number, event in enumerate(happened)
    ]


async def replay(http: httpx.AsyncClient, line: str, dialogs: Sequence[StarDialog]) -> Counter[str]:
    """Replay one line's dialogs and count the events by type.

    Raises:
        httpx.HTTPStatusError: The server refuses a request or fails.
    """
    counts: Counter[str] = Counter()
    for dialog, reply in in_order(dialogs):
        asked = {
            "lob": line,
            "conversation_id": dialog.conversation_id,
            "conversation": [
                {"role": turn.role, "text": turn.text} for turn in dialog.turns[: reply.turn]
            ],
            "user": dialog.agent,
        }
        answer = await http.post(endpoints.SUGGESTIONS, json=asked)
        answer.raise_for_status()
        body = answer.json()
        shown = body["choices"][0]["message"]["content"] or ""
        batch = events(body["id"], shown, reply)
        (await http.post(endpoints.EVENTS, json={"events": batch})).raise_for_status()
        counts.update(event["type"] for event in batch)
    return counts


async def run(options: argparse.Namespace) -> None:
    """Replay each line and print what became of its suggestions."""
    lines = options.lines.split(",")
    by_line: dict[str, list[StarDialog]] = {line: [] for line in lines}
    for dialog in star.read(options.star):
        for line in lines:
            if dialog.about(frozenset({line})):
                by_line[line].append(dialog)
    headers = {"authorization": f"Bearer {os.environ['SWITCHBOARD_API_KEY']}"}
    async with httpx.AsyncClient(base_url=options.url, headers=headers, timeout=300) as http:
        for line, dialogs in by_line.items():
            oldest = sorted(dialogs, key=lambda d: (d.began_at, d.id))[: options.dialogs]
            counts = await replay(http, line, oldest)
            told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
            print(f"{line}: {len(oldest)} dialogs; {told}", flush=True)


def main() -> None:
    """Replay what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--lines", required=True)
    parser.add_argument("--dialogs", type=int, default=None)
    parser.add_argument("--star", type=Path, default=None, help="else in SWITCHBOARD_STAR_DIR")
    options = parser.parse_args()
    if options.star is None:
        options.star = Path(os.environ["SWITCHBOARD_STAR_DIR"]) / "star.jsonl.gz"
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
