"""Admission: bounds hold, lines share, floods leave room. Time is the test's own."""

import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.admission.fair_queue import Admission
from serving.admission.lines import Claim, Key
from serving.config.limits import KeyLimits, Limits, LobLimits
from serving.errors import Overloaded, RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(
    places: int,
    lobs: dict[str, LobLimits] | None = None,
    *,
    levels: int = 1,
    clock: Clock | None = None,
    **limits: Any,
) -> tuple[Admission, Key]:
    lobs = lobs or {"care": LobLimits(), "sales": LobLimits()}
    admission = Admission(
        Limits(**limits), lobs, places=places, levels=levels, clock=clock or Clock()
    )
    return admission, admission.arrive("key_1", "service")


def test_lone_line_takes_every_place_and_queues_the_rest() -> None:
    admission, key = make(4)
    claims = [admission.claim("care", key) for _ in range(6)]
    assert [claim.held for claim in claims] == [True] * 4 + [False] * 2
    admission.release(claims[0])
    assert claims[4].held
    assert not claims[5].held


def test_full_queue_is_refused_with_retry_after() -> None:
    admission, key = make(1, {"care": LobLimits(max_queue=2)}, retry_after_min_s=3)
    for _ in range(3):
        admission.claim("care", key)
    with pytest.raises(Overloaded) as refused:
        admission.claim("care", key)
    assert refused.value.status == 429
    assert refused.value.headers == {"retry-after": "3"}
    assert admission.waiting == 2


def test_retry_after_grows_with_the_wait_up_to_its_bound() -> None:
    clock = Clock()
    admission, key = make(1, {"care": LobLimits(max_queue=1)}, clock=clock, retry_after_max_s=20)
    for _ in range(100):
        claim = admission.claim("care", key)
        clock.now += 4.0
        admission.release(claim)
    admission.claim("care", key)
    admission.claim("care", key)
    with pytest.raises(Overloaded) as refused:
        admission.claim("care", key)
    assert 4 <= int(refused.value.headers["retry-after"]) <= 20


def test_queue_of_no_length_still_admits_when_there_is_room() -> None:
    admission, key = make(1, {"care": LobLimits(max_queue=0)})
    assert admission.claim("care", key).held
    with pytest.raises(Overloaded):
        admission.claim("care", key)


def test_one_key_cannot_fill_a_line_s_queue() -> None:
    admission, key = make(1, keys={"greedy": KeyLimits(max_queue=1)})
    greedy = admission.arrive("key_2", "greedy")
    admission.claim("care", key)
    admission.claim("care", greedy)
    with pytest.raises(Overloaded, match="greedy"):
        admission.claim("sales", greedy)
    assert not admission.claim("sales", key).held


def test_rates_of_keys_and_lines_are_divided_among_replicas() -> None:
    clock = Clock()
    admission = Admission(
        Limits(default_key=KeyLimits(requests_per_minute=120)),
        {"care": LobLimits(requests_per_minute=60)},
        places=100,
        replicas=2,
        clock=clock,
    )
    for _ in range(10):
        key = admission.arrive("k", "k")
    with pytest.raises(RateLimited, match="key") as refused:
        admission.arrive("k", "k")
    assert refused.value.headers == {"retry-after": "1"}
    assert all(admission.claim("care", key).held for _ in range(5))
    with pytest.raises(RateLimited, match="care") as refused:
        admission.claim("care", key)
    assert (refused.value.code, refused.value.headers) == (
        "rate_limit_exceeded",
        {"retry-after": "2"},
    )


def test_flood_leaves_room_for_a_line_that_was_there_a_moment_ago() -> None:
    clock = Clock()
    admission, key = make(8, clock=clock, borrow=0.5, present_s=30)
    admission.release(admission.claim("sales", key))
    flood = [admission.claim("care", key) for _ in range(12)]
    assert sum(claim.held for claim in flood) == 6, "half of the rest beyond its share"
    assert admission.claim("sales", key).held
    assert admission.claim("sales", key).held

    clock.now += 31
    for claim in flood[:6]:
        admission.release(claim)
    assert admission.inflight == 8, "sales still holds places, so care stops at 6"


def test_line_that_has_left_frees_its_share() -> None:
    clock = Clock()
    admission, key = make(8, clock=clock, present_s=30)
    admission.release(admission.claim("sales", key))
    clock.now += 31
    assert all(admission.claim("care", key).held for _ in range(8))


def test_newcomer_to_a_full_replica_is_next() -> None:
    admission, key = make(4)
    flood = [admission.claim("care", key) for _ in range(8)]
    newcomer = admission.claim("sales", key)
    assert not newcomer.held
    admission.release(flood[0])
    assert newcomer.held
    assert not flood[4].held


def test_places_are_shared_by_weight() -> None:
    admission, key = make(
        12, {"care": LobLimits(weight=2, max_queue=99), "sales": LobLimits(max_queue=99)}, borrow=0
    )
    claims = [admission.claim(lob, key) for _ in range(30) for lob in ("sales", "care")]
    for _ in range(20):
        admission.release(next(claim for claim in claims if claim.held))
        claims = [claim for claim in claims if claim.held or not released(claim)]
    held = Counter(claim.line.name for claim in claims if claim.held)
    assert held == {"care": 8, "sales": 4}


def released(claim: Claim) -> bool:
    return not claim.held and all(claim not in queue for queue in claim.line.queues)


def test_live_requests_go_before_batch_ones_of_their_line_and_have_a_queue_of_their_own() -> None:
    admission, key = make(1, {"care": LobLimits(max_queue=1)}, levels=2)
    running = admission.claim("care", key, 0)
    batch = admission.claim("care", key, 1)
    live = admission.claim("care", key, 0)
    for level in (0, 1):
        with pytest.raises(Overloaded):
            admission.claim("care", key, level)
    admission.release(running)
    assert live.held
    assert not batch.held


def test_large_request_is_not_starved_by_small_ones() -> None:
    admission, key = make(4)
    small = [admission.claim("care", key) for _ in range(2)]
    large = admission.claim("care", key, cost=4)
    later = admission.claim("care", key)
    assert not later.held, "there are two places, but it would go before the large one"
    for claim in small:
        admission.release(claim)
    assert large.held
    assert not later.held


def test_request_larger_than_the_replica_is_admitted_alone() -> None:
    admission, key = make(4)
    assert admission.claim("care", key, cost=100).held
    assert admission.inflight == 4


def test_leaving_the_queue_or_releasing_twice_frees_nothing_twice() -> None:
    admission, key = make(1)
    held, waiting = admission.claim("care", key), admission.claim("care", key)
    admission.release(waiting)
    admission.release(waiting)
    assert (admission.waiting, key.waiting, admission.inflight) == (0, 0, 1)
    admission.release(held)
    admission.release(held)
    assert admission.inflight == 0


ARRIVAL = st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.integers(1, 5))
EVENTS = st.lists(
    st.one_of(ARRIVAL, st.integers(0, 30), st.floats(0, 40)), min_size=1, max_size=120
)


@settings(max_examples=300, deadline=None)
@given(
    places=st.integers(1, 8),
    borrow=st.floats(0, 1),
    weights=st.tuples(*[st.floats(0.1, 10)] * 3),
    max_queue=st.integers(0, 6),
    events=EVENTS,
)
def test_bounds_hold_and_no_place_idles_whatever_happens(
    places: int,
    borrow: float,
    weights: tuple[float, ...],
    max_queue: int,
    events: list[tuple[str, int, int] | int | float],
) -> None:
    clock = Clock()
    lobs = {
        name: LobLimits(weight=weight, max_queue=max_queue)
        for name, weight in zip("abc", weights, strict=True)
    }
    admission, key = make(places, lobs, levels=2, clock=clock, borrow=borrow)
    alive: list[Claim] = []
    for event in events:
        if isinstance(event, tuple):
            with contextlib.suppress(Overloaded):
                alive.append(admission.claim(event[0], key, event[1], event[2]))
        elif isinstance(event, int):
            if alive:
                admission.release(alive.pop(event % len(alive)))
        else:
            clock.now += event
        held = [claim for claim in alive if claim.held]
        assert admission.inflight == sum(claim.cost for claim in held) <= places
        assert admission.waiting == len(alive) - len(held) == key.waiting
        for line in admission.lines.values():
            assert line.inflight == sum(c.cost for c in held if c.line is line)
            assert [len(queue) for queue in line.queues] <= [max_queue] * 2
            if line.waiting and not line.inflight:
                # Nobody with nothing waits beside a place that is large enough.
                smallest = line.head().cost
                blocked = any(
                    other.waiting and admission.inflight + other.head().cost > places
                    for other in admission.lines.values()
                )
                assert admission.inflight + smallest > places or blocked
    while alive:
        admission.release(alive.pop(next(i for i, c in enumerate(alive) if c.held)))
    assert (admission.inflight, admission.waiting, key.waiting) == (0, 0, 0)


def test_spare_work_leaves_a_place_free_and_never_goes_before_who_waits() -> None:
    admission, key = make(3)
    stopped: list[str] = []
    first = admission.spare("care", lambda: stopped.append("first"))
    assert first is not None
    assert first.held
    assert admission.spare("care", lambda: stopped.append("second")) is not None
    assert admission.spare("care", lambda: None) is None  # the last free place is a request's
    assert admission.claim("sales", key).held
    assert stopped == []
    admission.release(first)
    assert admission.inflight == 2


def test_a_request_without_room_takes_spare_places_back_at_once() -> None:
    admission, key = make(2, {"care": LobLimits(max_queue=0)})
    stopped: list[str] = []
    spare = admission.spare("care", lambda: stopped.append("it"))
    assert spare is not None
    claims = [admission.claim("care", key) for _ in range(2)]
    assert [claim.held for claim in claims] == [True, True]  # not refused, though none may wait
    assert stopped == ["it"]
    assert admission.inflight == 2
    admission.release(spare)  # as its work does when it has ended
    assert admission.inflight == 2
    with pytest.raises(Overloaded):
        admission.claim("care", key)
    assert admission.spare("care", lambda: None) is None


def test_a_request_takes_back_no_more_than_it_needs_and_the_newest_first() -> None:
    admission, key = make(4, {"care": LobLimits(max_queue=0)})
    stopped: list[int] = []
    spare = [admission.spare("care", lambda i=i: stopped.append(i)) for i in range(3)]
    assert all(spare)
    assert admission.claim("care", key).held
    assert stopped == []
    assert admission.claim("care", key, cost=2).held
    assert stopped == [2, 1]
    assert admission.inflight == 4


def test_a_batch_is_narrow_beside_requests_and_wide_again_after_a_while() -> None:
    clock = Clock()
    admission, key = make(8, clock=clock)
    stopped: list[int] = []

    def batch(number: int) -> Claim | None:
        return admission.spare("care", lambda: stopped.append(number), batch=True)

    assert all(batch(number) for number in range(4))
    live = admission.claim("sales", key)
    assert stopped == [3, 2, 1]  # the newest first, all but limits.batch_beside_live
    assert batch(4) is None
    assert admission.spare("care", lambda: None) is not None  # a shadow has a share of its own
    admission.release(live)
    assert batch(5) is None  # the next request may come at once
    clock.now += 1
    assert batch(6) is not None


def test_what_a_batch_has_to_give_back_is_no_request() -> None:
    admission, _ = make(8)
    spare = admission.spare("care", lambda: None, batch=True)
    assert spare is not None
    admission.release(spare)
    admission.release(spare)
    assert all(admission.spare("care", lambda: None, batch=True) for _ in range(3))


def test_spare_work_may_take_several_places_and_the_last_if_it_is_told() -> None:
    admission, _ = make(3)
    assert admission.spare("care", lambda: None, 3) is None
    assert admission.spare("care", lambda: None, 2) is not None
    assert admission.inflight == 2
    lone, _ = make(1)
    assert lone.spare("care", lambda: None) is None
    assert lone.spare("care", lambda: None, 1, 0) is not None
