"""The queue against a model of it: whatever happens in whatever order, both say the same."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.errors import Conflict
from serving.store.database import Database
from serving.store.reviews import feed, queue
from serving.store.reviews.records import Decision, Review, Status, held_as, mark
from tests.serving.store.reviews.test_queue import let_pass, new

DEADLINE_S, ESCALATION_S, CLAIM_S = 10_000.0, 10_000.0, 3_000.0
KEYS = st.sampled_from(["ann", "ben"])


class Queue(RuleBasedStateMachine):
    """One task, two reviewers, and time that passes in steps far above the clock's own pace."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.db = Database(f"sqlite:///{Path(self.folder.name) / 'store.sqlite'}")
        self.runner.run(self.db.open())
        times = {"deadline_s": DEADLINE_S, "escalation_s": ESCALATION_S}
        self.runner.run(queue.create(self.db, new(**times)))
        self.age, self.holder, self.until = 0.0, "", 0.0
        self.decided: Status | None = None

    def teardown(self) -> None:
        self.runner.run(self.db.close())
        self.runner.close()
        self.folder.cleanup()

    @property
    def model(self) -> Status:
        if self.decided:
            return self.decided
        if self.age >= DEADLINE_S + ESCALATION_S:
            return Status.EXPIRED
        if self.holder and self.until > self.age:
            return Status.CLAIMED
        return Status.ESCALATED if self.age >= DEADLINE_S else Status.PENDING

    def may(self, expected: bool, done: Review | None) -> None:
        assert (done is not None) is expected

    def tried(self, act: "asyncio.Future[Review]") -> Review | None:
        try:
            return self.runner.run(act)  # type: ignore[arg-type]
        except Conflict:
            return None

    @rule(hours=st.integers(1, 3))
    def time_passes(self, hours: int) -> None:
        self.age += hours * 2_500.0
        self.runner.run(let_pass(self.db, hours * 2_500.0))

    @rule()
    def sweep(self) -> None:
        self.runner.run(queue.advance(self.db, "review-1"))
        assert self.runner.run(queue.due(self.db)) == []

    @rule(key=KEYS)
    def claim(self, key: str) -> None:
        free = self.model in {Status.PENDING, Status.ESCALATED}
        done = self.tried(queue.claim(self.db, "review-1", key, CLAIM_S))  # type: ignore[arg-type]
        self.may(free, done)
        if free:
            self.holder, self.until = key, self.age + CLAIM_S

    @rule(key=KEYS)
    def release(self, key: str) -> None:
        mine = self.model is Status.CLAIMED and self.holder == key
        self.may(mine, self.tried(queue.release(self.db, "review-1", key)))  # type: ignore[arg-type]
        if mine:
            self.holder = ""

    @rule(key=KEYS, decision=st.sampled_from(Decision))
    def decide(self, key: str, decision: Decision) -> None:
        mine = self.model is Status.CLAIMED and self.holder == key
        act = queue.decide(self.db, "review-1", key, decision, b"{}")
        self.may(mine, self.tried(act))  # type: ignore[arg-type]
        if mine:
            self.decided = decision.status

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        stands = self.runner.run(queue.get(self.db, "review-1"))
        assert stands.status is self.model
        for status in Status:
            found = self.runner.run(queue.find(self.db, status=status))
            assert bool(found) is (status is self.model), status

    @invariant()
    def at_most_one_event_ends_it(self) -> None:
        ends = [
            e
            for e in self.runner.run(feed.since(self.db, 0))
            if Status.__members__.get(e.kind.name, Status.PENDING).final
        ]
        assert len(ends) <= 1


class TestQueue(Queue.TestCase):  # type: ignore[name-defined,misc,unused-ignore]
    settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


def test_a_mark_names_the_task_and_other_verdicts_name_none() -> None:
    other = {"guard": "input.injection", "action": "flag"}
    assert held_as([other, mark("review-1")]) == "review-1"
    assert held_as([other]) is None
