"""Adapters take turns in the engine's slots: full while they last, and nobody passed for long."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.admission.adapter_slots import AdapterSlots
from serving.admission.fair_queue import Admission
from serving.admission.lines import Claim, Key
from serving.config.limits import Limits, LobLimits

WAIT_S = 5.0
STEP_S = 2.5  # by which the property's clock goes on at most


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(places: int, adapters: int | None, lobs: dict[str, LobLimits]) -> tuple[Admission, Key]:
    clock = Clock()
    limits = Limits(adapter_wait_s=WAIT_S, borrow=1.0)
    admission = Admission(limits, lobs, places=places, adapters=adapters, clock=clock)
    return admission, admission.arrive("key_1", "service")


def ask(admission: Admission, key: Key, adapter: str | None, lob: str = "care") -> Claim:
    return admission.claim(lob, key, adapter=adapter)


def later(admission: Admission, seconds: float) -> None:
    clock = admission._clock
    assert isinstance(clock, Clock)
    clock.now += seconds


CARE = {"care": LobLimits(max_queue=1000)}


def test_a_request_of_one_adapter_too_many_waits_though_places_are_free() -> None:
    admission, key = make(8, 2, CARE)
    held = [ask(admission, key, name) for name in ("care@1", "care@2")]
    third = ask(admission, key, "care@3")
    assert [claim.held for claim in held] == [True, True]
    assert not third.held
    admission.release(held[0])
    assert third.held


def test_requests_of_adapters_that_run_and_of_the_base_pass_it() -> None:
    admission, key = make(8, 2, CARE)
    for name in ("care@1", "care@2"):
        ask(admission, key, name)
    assert not ask(admission, key, "care@3").held
    assert ask(admission, key, "care@1").held
    assert ask(admission, key, None).held


def test_who_has_waited_long_enough_gets_the_slot_of_the_adapter_with_the_fewest_places() -> None:
    admission, key = make(8, 2, CARE)
    busy = [ask(admission, key, "care@1") for _ in range(3)]
    rare = ask(admission, key, "care@2")
    third = ask(admission, key, "care@3")
    later(admission, WAIT_S)
    more = ask(admission, key, "care@2")
    assert not more.held
    assert ask(admission, key, "care@1").held  # another's slot is no help to it
    admission.release(rare)
    assert third.held
    assert not more.held
    admission.release(third)
    assert more.held
    assert all(claim.held for claim in busy)


def test_without_a_number_of_slots_nobody_waits_for_one() -> None:
    admission, key = make(8, None, CARE)
    assert all(ask(admission, key, f"care@{n}").held for n in range(8))


def test_an_adapter_that_was_to_leave_goes_on_when_nobody_waits_for_its_slot_any_more() -> None:
    admission, key = make(8, 1, CARE)
    ask(admission, key, "care@1")
    second = ask(admission, key, "care@2")
    later(admission, WAIT_S)
    third = ask(admission, key, "care@1")
    assert not third.held
    admission.release(second)  # its client left
    assert third.held


def test_slots_are_counted_by_places_and_given_up_with_the_last() -> None:
    slots = AdapterSlots(1, WAIT_S)
    slots.take("a", 2)
    slots.give_back("a", 1)
    assert not slots.fits("b")
    slots.give_back("a", 1)
    assert slots.fits("b")


Asked = tuple[int, int, int]  # which adapter, how long its answer takes, when it comes
TRAFFIC = st.lists(
    st.tuples(st.integers(0, 11), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=120
)


@settings(max_examples=150, deadline=None)
@given(TRAFFIC, st.integers(1, 4), st.integers(2, 8))
def test_nobody_is_passed_for_longer_than_the_bound(
    traffic: list[Asked], adapters: int, places: int
) -> None:
    """From the bound on, a request waits for those that were before it when it came.

    Each of these takes a turn of a slot at most: the answers that run then end, and so do those
    that hold its place.
    """
    admission, key = make(places, adapters, CARE)
    running: list[tuple[float, Claim]] = []
    waiting: deque[tuple[float, int, Claim]] = deque()
    clock = admission._clock
    assert isinstance(clock, Clock)
    todo, ends = deque(traffic), dict[int, int]()
    longest = max(length for _, length, _ in traffic)
    while todo or waiting or running:
        clock.now += 1.0
        for ended in [one for one in running if one[0] <= clock.now]:
            running.remove(ended)
            admission.release(ended[1])
        if todo:
            number, length, pause = todo.popleft()
            clock.now += pause * 0.5
            claim = ask(admission, key, f"care@{number}")
            ends[id(claim)] = length
            waiting.append((clock.now, len(waiting), claim))
        slots = admission._slots
        assert len(slots._places) <= adapters
        for since, before, claim in list(waiting):
            if claim.held:
                waiting.remove((since, before, claim))
                running.append((clock.now + ends[id(claim)], claim))
            else:
                turn = 2 * (longest + STEP_S)
                bound = WAIT_S + (before + 1) * turn
                assert clock.now - since <= bound


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 6), st.floats(1, 4))
def test_weights_between_lines_hold_where_each_has_its_adapter(places: int, weight: float) -> None:
    lobs = {
        "care": LobLimits(weight=weight, max_queue=1000),
        "sales": LobLimits(weight=1.0, max_queue=1000),
    }
    grouped, key = make(places, 2, lobs)
    free, other = make(places, None, lobs)
    for admission, its in ((grouped, key), (free, other)):
        claims = [
            ask(admission, its, f"{lob}@1", lob) for _ in range(40) for lob in ("care", "sales")
        ]
        for _ in range(30):
            held = [claim for claim in claims if claim.held]
            admission.release(held[0])
            claims.remove(held[0])
    of = {name: line.inflight for name, line in grouped.lines.items()}
    assert of == {name: line.inflight for name, line in free.lines.items()}


def test_the_choice_is_the_engines_unless_a_wait_is_set_and_may_change_while_requests_run() -> None:
    admission, key = make(8, 1, CARE)
    admission.configure(Limits(), CARE, places=8, replicas=1)
    held = [ask(admission, key, f"care@{number}") for number in range(2)]
    assert [claim.held for claim in held] == [True, True]
    admission.configure(Limits(adapter_wait_s=WAIT_S), CARE, places=8, replicas=1)
    third = ask(admission, key, "care@3")
    admission.release(held[0])
    assert not third.held  # care@1 has the slot
    admission.release(held[1])
    assert third.held
