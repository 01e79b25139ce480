"""Figures of answers, by SQL in real databases."""

from typing import Any

from serving.store import interactions
from serving.store.database import Database
from serving.store.reports import answers
from tests.serving.conftest import Interactions

CLAIM = {
    "guard": "output.claims",
    "action": "flag",
    "kind": "number",
    "score": 1.0,
    "span": [0, 1],
    "reason": "nothing says so",
}


async def test_versions_have_their_counts_and_exact_percentiles(
    db: Database, interaction: Interactions
) -> None:
    def of(version: str | None, **fields: Any) -> Any:
        return interaction(version=version, **{"ttft_ms": None, **fields})

    made = [of("care@1", latency_ms=float(n), conversation_id=f"c-{n % 4}") for n in range(1, 21)]
    made += [of("care@1", latency_ms=9e9, status=status) for status in ("aborted", "error")]
    made += [of("care@2", latency_ms=5.0, ttft_ms=2.0, guards=[CLAIM], conversation_id=None)]
    made += [of("care@2", latency_ms=7.0, guards=[CLAIM | {"guard": "output.content"}])]
    made += [of(None, status="error", latency_ms=1.0)]
    made += [of("sales@1", lob="sales"), of("care@1", created_at=1.0)]
    await interactions.save(db, made)
    nobody, first, second = await answers.by_version(db, "care", 100.0)
    assert (nobody.version, nobody.answers, nobody.failed, nobody.latency_p50) == ("", 1, 1, None)
    assert (first.version, first.answers, first.completed) == ("care@1", 22, 20)
    assert (first.aborted, first.failed, first.unsupported) == (1, 1, 0)
    assert (first.latency_p50, first.latency_p95, first.ttft_p50) == (10.0, 19.0, None)
    assert first.conversations == 5  # four, and the fixture's own
    assert (second.unsupported, second.latency_p50, second.latency_p95) == (1, 5.0, 7.0)
    assert (second.ttft_p50, second.conversations) == (2.0, 1)


async def test_conversations_of_all_lines_are_counted_once(
    db: Database, interaction: Interactions
) -> None:
    assert await answers.conversations(db, 0) == (0, None)
    made = [
        interaction(conversation_id="a", created_at=10.0),
        interaction(conversation_id="a", created_at=20.0),
        interaction(conversation_id="a", created_at=30.0, lob="sales"),
        interaction(conversation_id=None, created_at=40.0),
        interaction(conversation_id="", created_at=50.0, lob=None),
    ]
    await interactions.save(db, made)
    assert await answers.conversations(db, 0) == (4, 10.0)
    assert await answers.conversations(db, 25.0) == (3, 30.0)
