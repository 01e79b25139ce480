"""The drill: so many unsafe outputs, kinds in turn, and how many of each kind got through."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from faults import KINDS, make

from serving.guards.claims.check import check
from serving.guards.verdict import GuardContext

Reply = tuple[str, tuple[tuple[str, str], ...]]

_TRIES = 1000


def drill(replies: Sequence[Reply], outputs: int, seed: int) -> dict[str, Any]:
    """Return by kind how many unsafe outputs were caught and how many got through.

    Args:
        replies: Real replies, each with the (role, text) before it.
        outputs: How many to make; kinds take turns, and within a kind change and insertion do
            where a drawn reply allows a change.
        seed: Of the draws.

    Raises:
        ValueError: No reply has a statement to deny.
    """
    rng = random.Random(seed)
    caught: Counter[str] = Counter()
    through: Counter[str] = Counter()
    for number in range(outputs):
        kind = KINDS[number % len(KINDS)]
        how = "changed" if kind == "negation" or number // len(KINDS) % 2 else "inserted"
        fault = None
        tries = 0
        while fault is None:
            tries += 1
            if tries == _TRIES and kind == "negation":
                raise ValueError(f"none of {len(replies)} replies says what can be denied")
            if kind == "promise" or (tries > _TRIES and kind != "negation"):
                how = "inserted"  # so few replies have one to change
            text, before = rng.choice(replies)
            seen = " ".join(said for _, said in before)
            fault = make(rng, kind, how, text, seen)
        low, high = fault.span
        found = check(fault.text, GuardContext(conversation=before))
        hit = any(f.span[0] < high and low < f.span[1] for f in found)
        (caught if hit else through)[kind] += 1
    return {
        "outputs": outputs,
        "caught": {kind: caught[kind] for kind in KINDS},
        "got_through": {kind: through[kind] for kind in KINDS},
    }
