"""Places that work holds for which nobody waits: shadows, and the lines of batches."""

from collections.abc import Callable

from serving.admission.lines import Claim


class Spare:
    """Who holds spare places, in the order in which they took them.

    Args:
        release: Gives a claim's places back.

    Attributes:
        places: How many are held.
        of_batches: How many of these by batches.
    """

    def __init__(self, release: Callable[[Claim], None]) -> None:
        self._release = release
        self._held: dict[Claim, tuple[Callable[[], object], bool]] = {}
        self.places = 0
        self.of_batches = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, claim: Claim, stop: Callable[[], object], *, batch: bool) -> None:
        """Note a claim, and what ends its work when it has to go."""
        self._held[claim] = stop, batch
        self.places += claim.cost
        self.of_batches += claim.cost * batch

    def discard(self, claim: Claim) -> bool:
        """Forget a claim; returns whether it was one of these."""
        held = self._held.pop(claim, None)
        if held is None:
            return False
        self.places -= claim.cost
        self.of_batches -= claim.cost * held[1]
        return True

    def take_back(self, enough: Callable[[], bool], *, batches_only: bool = False) -> None:
        """Give places back, the newest first, until there are enough."""
        for claim, (stop, batch) in reversed(list(self._held.items())):
            if enough():
                return
            if batch or not batches_only:
                self._release(claim)
                stop()
