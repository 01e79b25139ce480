"""What curation keeps of an example in memory: its lineage, and hashes in place of its texts.

Of a million examples the texts are gigabytes; what decides which of them stay is not. Two texts
are the same where their hashes are: 16 bytes of BLAKE2b (RFC 7693).
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.data import dedup, preferences
from training.data.examples import TARGETS, Example
from training.data.sampling import is_greeting_or_closing

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Row:
    """What stands for an example.

    Args:
        interaction_id: As in `Example`, and so are the next seven.
        conversation_id: See there.
        created_at: See there.
        task: See there.
        turn_position: See there.
        version: See there.
        source: See there.
        agent: See there.
        place: Its index among all examples.
        key_id: The API key that judged it last.
        is_greeting: Whether its target only greets or takes leave.
        pair: Hash of prompt and target.
        good: Hash of prompt and target, stripped, where the target is desirable.
        bad: Hashes likewise of the texts that are not.
        sketch: What is read of it for near-duplicates; see `dedup.sketch`.
        replaced: Values that were redacted in it, by kind.
    """

    interaction_id: str
    conversation_id: str
    created_at: float
    task: str
    turn_position: int | None
    version: str | None
    source: str
    agent: str | None
    place: int
    key_id: str
    is_greeting: bool
    pair: bytes
    good: bytes | None
    bad: bytes | None
    sketch: bytes
    replaced: tuple[tuple[str, int], ...] = ()

    @property
    def is_target(self) -> bool:
        """Whether its text is worth imitating."""
        return self.source in TARGETS


def row(
    example: Example, place: int, key_id: str = "", replaced: tuple[tuple[str, int], ...] = ()
) -> Row:
    """Return what stands for an example.

    Args:
        example: Redacted, if it is to be.
        place: Its index among all examples.
        key_id: The API key that judged it last.
        replaced: Values that were redacted in it, by kind.
    """
    prompt = _prompt(example)
    judged = {good: _pair(prompt, text.strip()) for text, good in preferences.judged(example)}
    return Row(
        interaction_id=example.interaction_id,
        conversation_id=example.conversation_id,
        created_at=example.created_at,
        task=example.task,
        turn_position=example.turn_position,
        version=example.version,
        source=example.source,
        agent=example.agent,
        place=place,
        key_id=key_id,
        is_greeting=is_greeting_or_closing(example),
        pair=_pair(prompt, example.target),
        good=judged.get(True),
        bad=judged.get(False),
        sketch=dedup.sketch(example),
        replaced=replaced,
    )


def placed(row: Row, place: int) -> Row:
    """Return a row in its place; names that many rows share are one string, whoever read them."""
    return replace(
        row,
        conversation_id=sys.intern(row.conversation_id),
        task=sys.intern(row.task),
        version=row.version and sys.intern(row.version),
        source=sys.intern(row.source),
        agent=row.agent and sys.intern(row.agent),
        place=place,
        key_id=sys.intern(row.key_id),
    )


def without_contradictions(rows: Sequence[Row]) -> list[Row]:
    """Drop every row that calls a text good that another calls bad, and that other.

    The same text is meant: the same answer to the same prompt.
    """
    both = {r.good for r in rows} & {r.bad for r in rows} - {None}
    return [r for r in rows if r.good not in both and r.bad not in both]


def pair(example: Example) -> bytes:
    """Return the hash of an example's prompt and target."""
    return _pair(_prompt(example), example.target)


def _prompt(example: Example) -> bytes:
    said = json.dumps([(m.role, m.content) for m in example.messages])
    return hashlib.blake2b(said.encode(), digest_size=_DIGEST_BYTES).digest()


def _pair(prompt: bytes, text: str) -> bytes:
    content = prompt + text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
