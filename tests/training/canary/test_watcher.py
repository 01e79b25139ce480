import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import update

from serving.config.settings import Settings
from serving.errors import Conflict, NotFound
from serving.store import adapter_versions as versions
from serving.store import audit, feedback, interactions, routes
from serving.store.database import Database
from serving.store.tables import RolloutRow
from tests.training.records import labelled, of_arm
from tests.training.stub_server import Stub, serving
from training.canary import watcher
from training.canary.decision import CanaryDecision
from training.errors import EvaluationFailed
from training.recipe.canary import CanaryConfig, CanaryRule

AGO_S = 1000.0
RULES = CanaryConfig(
    window_s=100,
    steps=(0.25, 0.5),
    step_conversations=5,
    min_conversations=20,
    non_inferiority=(CanaryRule(metric="acceptance", margin=0.3),),
)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Database]:
    """Return a store with care@1 live, and care@2 and care@3 as candidates."""
    db = Database(settings.store.url)
    await db.open()
    for number in (1, 2, 3):
        assert await versions.reserve(db, "care") == number
        content: dict[str, Any] = {"parent": None, "base_model": "base", "base_hash": "h"}
        content |= {"dataset_id": None, "recipe": {}, "metrics": {"edit_similarity": 0.5}}
        content |= {"decision": {}, "uri": "u", "manifest_hash": "m", "rank": 4}
        await versions.add(db, lob="care", number=number, name=f"care@{number}", **content)
    await routes.switch(db, "care", live="care@1", action="promote")
    yield db
    await db.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving(Stub(lambda *_: "")) as running:
        yield running


async def begin(db: Database, version: str = "care@2", share: float = 0.5) -> None:
    """Put a version on canary, a while ago."""
    await routes.switch(db, "care", canary=version, share=share, action="canary")
    async with db.session() as connection:
        await connection.execute(update(RolloutRow).values(created_at=time.time() - AGO_S))


async def converse(
    db: Database, count: int, *, rejected: str, share: float = 0.5, first: int = 0
) -> None:
    """Store conversations in which agents reject one version's answers and use the other's."""
    for number in range(first, first + count):
        version = f"care@{1 + number % 2}"
        at = time.time() - AGO_S + 10 + number
        said = {"rejected": True} if version == rejected else {"used": True}
        name = of_arm("care@2", version == "care@2", number, share)
        answered = {"version": version, "model_requested": "care", "conversation_id": name}
        row = labelled(f"i{number}", said, **answered, created_at=at)
        await interactions.save(db, [row.interaction])
        await feedback.add(db, row.feedback[0].model_copy(update={"created_at": at + 1}))


async def once(settings: Settings, stub: Stub, **options: Any) -> CanaryDecision:
    return await watcher.run(
        "care", settings=settings, rules=RULES, url=stub.url, api_key="k", once=True, **options
    )


@pytest.mark.parametrize(
    ("rejected", "action", "asked"),
    [
        ("care@2", "roll_back", ("care/rollback", {"canary": "care@2"})),
        ("care@1", "promote", ("care@2/promote", {})),
    ],
)
async def test_it_acts_on_what_agents_did_and_keeps_its_reasons(
    settings: Settings,
    store: Database,
    stub: Stub,
    rejected: str,
    action: str,
    asked: tuple[str, dict[str, Any]],
) -> None:
    await begin(store)
    await converse(store, 60, rejected=rejected)
    decision = await once(settings, stub)
    assert decision.action == action
    assert stub.rollouts == [asked]
    assert stub.keys == {"Bearer k"}
    version = await versions.get(store, "care@2")
    assert version is not None
    assert version.metrics["edit_similarity"] == 0.5
    assert version.metrics["canary"]["action"] == action
    assert version.metrics["canary"]["control"] == "care@1"
    (entry,) = await watcher.decisions(settings, "care@2")
    assert entry.detail["reasons"] == version.metrics["canary"]["reasons"]
    assert entry.detail["evidence"]["acceptance"]["canary"] == 30


async def test_the_share_grows_after_enough_conversations(
    settings: Settings, store: Database, stub: Stub
) -> None:
    await begin(store, share=0.25)
    await converse(store, 8, rejected="none", share=0.25)
    assert (await once(settings, stub)).action == "continue"
    assert stub.rollouts == []
    assert await audit.about(store, "care@2", watcher.ACTION) == []
    await converse(store, 12, rejected="none", share=0.25, first=8)
    assert (await once(settings, stub)).share == 0.5
    assert stub.rollouts == [("care@2/canary", {"share": 0.5})]


async def test_looking_twice_decides_the_same(
    settings: Settings, store: Database, stub: Stub
) -> None:
    await begin(store)
    await converse(store, 30, rejected="care@2")
    first, second = await once(settings, stub), await once(settings, stub)
    assert (first.action, first.evidence) == (second.action, second.evidence)


async def test_it_begins_a_canary_at_the_first_step(
    settings: Settings, store: Database, stub: Stub
) -> None:
    with pytest.raises(NotFound, match="care has no canary"):
        await once(settings, stub, version="care@2")  # the stub changes no route
    assert stub.rollouts == [("care@2/canary", {"share": 0.25})]
    await begin(store)
    assert (await once(settings, stub, version="care@2")).action == "continue"
    with pytest.raises(Conflict, match="care@2 is care's canary"):
        await once(settings, stub, version="care@3")
    assert len(stub.rollouts) == 1


async def test_a_server_that_refuses_is_asked_again(
    settings: Settings,
    store: Database,
    stub: Stub,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await begin(store)
    await converse(store, 60, rejected="care@2")
    stub.promote_status = 409
    with pytest.raises(EvaluationFailed, match="the server answers 409"):
        await once(settings, stub)
    said: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        if "answers 409" in said[-1]:
            stub.promote_status = 200
        return True

    caplog.set_level(logging.INFO, "training")
    monkeypatch.setattr(watcher.logger, "filters", [hear])
    decision = await watcher.run("care", settings=settings, rules=RULES, url=stub.url, every_s=0.01)
    assert decision.action == "roll_back"
    assert len([text for text in said if "is rolled back: it is shown to be worse" in text]) == 2
