"""A conversation at the desk becomes an example of the flywheel's dataset, as people see it.

Real: console, gateway, store, events, scheduler, curation. What the engine answers is the test's,
and nothing is trained: the e2e test of this name goes on to the adapter.
"""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from serving import auth
from serving.store import cycles, feedback, interactions
from serving.store.database import Database
from serving.store.records import CycleState
from tests.chromium import sign_in
from tests.console_recording import LINE, MORE, photograph, work_a_turn
from tests.serving.gateway.conftest import Site
from tests.training.conftest import make_base
from tests.training.records import drawn, labelled
from tests.training.stub_server import Stub, serving
from tests.waiting import until_async
from training.data import dataset
from training.execution.local import Worker
from training.flywheel.scheduler import FlywheelScheduler
from training.recipe.recipe import Recipe
from training.trainers.job import Job, Result

OTHERS = 30
RECIPE = Recipe.model_validate(
    {
        "curation": {
            "min_examples": 10,
            "min_conversations": 8,
            "golden_share": 0,
            "tasks": ["suggestion"],
        },
        "flywheel": {"min_new_feedback": OTHERS + 1},
    }
)


class Waiting(Worker):
    """A trainer that has begun and is not done."""

    def __init__(self) -> None:
        super().__init__(("true",))
        self.began = asyncio.Event()

    async def train(self, job: Job) -> Result:
        self.began.set()
        await asyncio.Event().wait()
        raise AssertionError


async def others(db: Database) -> None:
    """What other agents edited, kept and put away."""
    began = time.time() - 3600
    rows = [
        labelled(
            f"o{n}",
            _said(n),
            task="suggestion",
            prompt=f"customer: my order {n} is late",
            conversation_id=drawn(n % 4 == 3, n),
            created_at=began + 60 * n,
        )
        for n in range(OTHERS)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(db, row.feedback[0])


def _said(number: int) -> dict[str, Any]:
    if number % 5 < 3:
        return {"edit": f"We send number {number}."}
    return {"used": True} if number % 5 == 3 else {"rating": 0.5}


async def test_a_conversation_goes_from_the_first_keystroke_into_the_dataset(
    site: Site, page: Any, tmp_path: Path
) -> None:
    db, settings = site.db, site.settings
    await others(db)
    agent, _ = await auth.create(db, name="Ana", roles=["agent"], lobs=[LINE])
    trainer, _ = await auth.create(db, name="Tom", roles=["trainer"], lobs=[LINE])
    site.says = "e are sorry. A new kettle is on its way."
    await sign_in(page, agent)
    conversation = await work_a_turn(page, "W", completes=True)

    async def edited() -> list[tuple[str, str]]:
        mine = [one for one in await site.stored() if one.conversation_id == conversation]
        given = [(one, await feedback.for_interaction(db, one.id)) for one in mine]
        return [(one.id, f.edit) for one, all_ in given for f in all_ if f.edit is not None]

    learned = await edited()
    while not learned:
        await asyncio.sleep(0.05)
        learned = await edited()
    ((id_, text),) = learned
    assert text.endswith(MORE)

    (tmp_path / "config.yaml").write_text("")
    base = await asyncio.to_thread(make_base, tmp_path / "base")
    store = settings.store.model_copy(update={"url": f"sqlite:///{db.url.database}"})
    worker = Waiting()
    with serving(Stub(lambda *_: "")) as stub:
        wheel = FlywheelScheduler(
            db,
            settings.model_copy(update={"store": store, "model": str(base)}),
            tmp_path / "config.yaml",
            lambda _: RECIPE,
            owner="scheduler",
            out=tmp_path / "runs",
            url=stub.url,
            api_key="sb-admin",
            worker=worker,
        )
        decision, _ = await wheel.look(LINE, RECIPE)
        await wheel.teller.decided(LINE, decision, RECIPE.flywheel)
        await sign_in(page, trainer)
        await page.goto("/console/flywheel")
        await page.get_by_text(re.compile(r"due, with \d+ new feedback")).wait_for()
        await photograph(page, "4-due")
        turning = asyncio.create_task(wheel.step(LINE))
        await until_async(lambda: worker.began.is_set() or turning.done(), "the training begins")
        assert not turning.done(), await cycles.latest(db, LINE)
        await page.get_by_text("trains and is judged").first.wait_for()
        await page.get_by_text("Feedback that was left out").wait_for()
        await photograph(page, "5-dataset")
        turning.cancel()
        await asyncio.wait({turning})
    (cycle,) = await cycles.latest(db, LINE)
    assert cycle.state is CycleState.TRAIN
    assert cycle.dataset_id is not None
    (folder,) = list((tmp_path / "runs" / "datasets").rglob(dataset.MANIFEST))
    built = dataset.read(folder.parent)
    assert [e.target for e in built.train if e.interaction_id.startswith(id_)] == [text]
