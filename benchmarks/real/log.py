"""What STAR's log itself says: how often agents pick, and how long a reply takes.

    python benchmarks/real/log.py [--star FILE]

A reply is its dialog's first, its last or between. Its time runs from the customer's last message
to the reply; one before any message of the customer has none.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from training.data.formats import star
from training.data.formats.star import Reply, StarDialog

POSITIONS = ("first", "middle", "last")


@dataclass(frozen=True)
class Work:
    """The replies of one position.

    Args:
        replies: How many.
        picked: Share that were suggestions taken, 0 to 1.
        picked_s: Median seconds of those; None where there are none.
        typed_s: Median seconds of the others.
    """

    replies: int
    picked: float
    picked_s: float | None
    typed_s: float | None


def by_position(dialogs: Iterable[StarDialog]) -> dict[str, Work]:
    """Return the replies' figures by position, for the positions that occur."""
    found: dict[str, list[Reply]] = {}
    for position, reply in _placed(dialogs):
        found.setdefault(position, []).append(reply)
    return {name: _work(found[name]) for name in POSITIONS if name in found}


def _placed(dialogs: Iterable[StarDialog]) -> Iterator[tuple[str, Reply]]:
    for dialog in dialogs:
        last = len(dialog.replies) - 1
        for number, reply in enumerate(dialog.replies):
            # A dialog's only reply opens it.
            yield ("first" if number == 0 else "last" if number == last else "middle"), reply


def _work(replies: list[Reply]) -> Work:
    def middle(picked: bool) -> float | None:
        times = [r.seconds for r in replies if r.picked == picked and r.seconds is not None]
        return median(times) if times else None

    share = sum(reply.picked for reply in replies) / len(replies)
    return Work(len(replies), share, middle(True), middle(False))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, help="else in SWITCHBOARD_STAR_DIR")
    named = parser.parse_args().star
    file = named or Path(os.environ["SWITCHBOARD_STAR_DIR"]) / "star.jsonl.gz"
    for position, work in by_position(star.read(file)).items():
        print(
            f"{position}: {work.replies} replies, {work.picked:.0%} picked, "
            f"{work.picked_s:.0f} s picked, {work.typed_s:.0f} s typed"
        )


if __name__ == "__main__":
    main()
