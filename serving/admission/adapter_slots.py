"""Which adapters are answered at once, as the engine's step mixes only so many; no I/O.

vLLM runs `max_loras` adapters in a step (`adapters.max_active`). A request of one more waits in the
engine with a place of ours, while newer requests of the others pass it for as long as any comes. So
it waits here: whoever has an adapter that runs goes first (as in S-LoRA's batching by adapter,
Sheng et al. 2024, arXiv:2311.03285, §4), which fills the places, and nobody is passed for longer
than `wait_s`. From then on the adapters with the fewest places, one for each adapter that is
overdue, get no new requests until they have run out and given their slots up.
"""

from collections import Counter
from collections.abc import Callable, Collection

Runs = Callable[[str | None], bool]


class AdapterSlots:
    """The adapters that requests are answered by.

    Args:
        slots: How many at once; None is any number.
        wait_s: How long requests of adapters that run may pass one of another; None leaves the
            choice to the engine, and everybody in.
    """

    def __init__(self, slots: int | None, wait_s: float | None) -> None:
        self._number = slots
        self.wait_s = wait_s
        self._places: Counter[str] = Counter()
        self._leaving: frozenset[str] = frozenset()

    @property
    def slots(self) -> int | None:
        """How many adapters at once, where that is bounded here."""
        return None if self.wait_s is None else self._number

    def runs(self, adapter: str | None) -> bool:
        """Whether an adapter has a slot; the base (None) needs none."""
        return adapter is None or self.slots is None or adapter in self._places

    def fits(self, adapter: str | None) -> bool:
        """Whether a request of an adapter may be answered now."""
        if self.runs(adapter):
            return self.slots is None or adapter not in self._leaving
        return self.slots is None or len(self._places) < self.slots

    def take(self, adapter: str | None, cost: int) -> None:
        """Count a request's places in."""
        if adapter is not None:
            self._places[adapter] += cost

    def give_back(self, adapter: str | None, cost: int) -> None:
        """Count them out; an adapter without any gives its slot up."""
        if adapter is None or adapter not in self._places:
            return
        self._places[adapter] -= cost
        if self._places[adapter] <= 0:
            del self._places[adapter]
            self._leaving -= {adapter}

    def make_way(self, waiting: Callable[[float, Runs], Collection[str]]) -> None:
        """Choose who leaves, for adapters whose requests have waited for long enough.

        Who was chosen stays it while it is needed, so that a slot comes free.

        Args:
            waiting: Given `wait_s` and what tells whether an adapter has a slot, returns those
                that have none and are waited for longer.
        """
        if self.slots is None or self.wait_s is None:
            return
        overdue = waiting(self.wait_s, self.runs)
        if not overdue:
            self._leaving = frozenset()
            return
        needed = len(overdue) - (self.slots - len(self._places))
        by_places = lambda name: (name not in self._leaving, self._places[name])  # noqa: E731
        fewest = sorted(self._places, key=by_places)
        self._leaving = frozenset(fewest[: max(0, needed)])
