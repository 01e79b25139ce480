"""One conversation from the first keystroke to the adapter that learned from it: all of it real.

With DOCS_SCREENSHOTS=FOLDER each step is photographed there, for docs/console.md.
"""

import secrets
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.store import cycles, feedback, interactions
from serving.store.database import Database
from serving.store.records import Cycle, CycleState, FeedbackRecord
from tests.chromium import opened, sign_in
from tests.console_recording import LINE, MORE, photograph, work_a_turn
from tests.e2e.server import Server, with_store
from tests.training.records import drawn
from tests.waiting import until
from training.data import dataset

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
OTHERS = 32
RECIPE = {
    "curation": {
        "min_examples": 8,
        "min_conversations": 8,
        "golden_share": 0,
        "tasks": ["suggestion"],
    },
    "gate": {"non_inferiority": [{"metric": "unsupported_facts", "margin": 0.9}]},
    "lora": {"rank": 8},
    "sft": {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "max_length": 512,
        "device": "cpu",
        "threads": 1,
    },
    "resources": {"nice": 0},
    "flywheel": {"min_new_feedback": 1, "canary": False},
}


def others(server: Server) -> None:
    """Other agents' conversations, edited."""
    first = secrets.randbelow(10**9)  # conversations that no other test had
    with server.http("agent") as http:
        for number in range(OTHERS):
            turns = [{"role": "customer", "text": f"Where is my order {number}?"}]
            name = drawn(number % 2 == 1, first + number)
            body = {"lob": LINE, "conversation": turns, "conversation_id": name, "max_tokens": 8}
            answer = http.post("/v1/suggestions", json=body)
            assert answer.status_code == 200, answer.text
            said = {"id": answer.json()["id"], "edit": f"Order {number} is on its way."}
            assert http.post("/v1/feedback", json=said).status_code == 200


def edits(server: Server, conversation: str) -> list[FeedbackRecord]:
    async def read(db: Database) -> list[FeedbackRecord]:
        labelled = await interactions.labelled(db, lob=LINE)
        mine = [one for one in labelled if one.interaction.conversation_id == conversation]
        given = [await feedback.for_interaction(db, one.interaction.id) for one in mine]
        return [one for all_ in given for one in all_ if one.edit is not None]

    return with_store(server, read)


def last_cycle(server: Server) -> Cycle:
    async def read(db: Database) -> Cycle:
        return (await cycles.latest(db, LINE))[0]

    return with_store(server, read)


async def test_a_conversation_is_followed_to_the_adapter_that_learned_from_it(
    server: Server, tmp_path: Path
) -> None:
    others(server)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    async with opened(server.url) as page:
        await sign_in(page, server.keys["agent"])
        conversation = await work_a_turn(page, "W", completes=False)
        (edit,) = until(lambda: edits(server, conversation), "the reply is learned from")
        assert edit.edit is not None
        assert edit.edit.endswith(MORE)
        await sign_in(page, server.keys["trainer"])
        out = tmp_path / "runs"
        # Processes of their own: in this one a loop runs already.
        asked = server.command("flywheel", "force", LINE, "--config", str(server.config))
        assert asked.returncode == 0, asked.stdout + asked.stderr
        turned = server.command(
            *("flywheel", "run", "--once", "--lob", LINE, "--config", str(server.config)),
            *("--recipe", str(recipe), "--out", str(out), "--url", server.url),
        )
        assert turned.returncode == 0, turned.stdout + turned.stderr
        cycle = last_cycle(server)
        try:
            await followed(page, cycle, out, edit)
        finally:
            if cycle.state is CycleState.PROMOTED:
                server.command("adapters", "rollback", LINE)


async def followed(page: Any, cycle: Cycle, out: Path, edit: FeedbackRecord) -> None:
    """The cycle's version learned from the edit, and the console shows both."""
    assert cycle.state in {CycleState.PROMOTED, CycleState.REJECTED}, cycle
    assert cycle.version is not None
    assert cycle.dataset_id is not None
    built = [dataset.read(one.parent) for one in (out / "datasets").rglob(dataset.MANIFEST)]
    (mine,) = [one for one in built if one.id == cycle.dataset_id]
    targets = [e.target for e in mine.train if e.interaction_id.startswith(edit.interaction_id)]
    assert targets == [edit.edit]
    await page.goto("/console/flywheel")
    await page.get_by_text(f"dataset {cycle.dataset_id[:12]}").first.wait_for()
    await photograph(page, "6-cycle")
    await page.goto(f"/console/adapters/{cycle.version}")
    await page.get_by_text(cycle.dataset_id).wait_for()
    await photograph(page, "7-adapter")
