"""What led to an answer, from the real store: its version, how that went live, what was found."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving import cli
from serving.errors import NotFound
from serving.rollout import explanation
from serving.startup import explain
from serving.store import adapter_versions, datasets, interactions, routes
from serving.store.database import Database
from serving.store.records import DatasetRecord
from serving.store.reviews import queue
from serving.store.reviews.records import mark
from tests.serving.conftest import Interactions
from tests.serving.store.reviews.test_removal import task

GATE = {"accepted": True, "against": "base", "reasons": [{"passed": True, "text": "better"}]}
CANARY = {"action": "promote", "why": "no harm in 120 conversations"}
FOUND = {"guard": "claims", "action": "review", "kind": "amount", "score": 0.9, "span": [0, 4]}
SECRET = "My card is 4111"


async def seed(db: Database, make: Interactions) -> str:
    """An answer of care@1, which two keys released, held for a review that Ann decided."""
    await datasets.save(db, DatasetRecord(id="d1", lob="care", uri="u", manifest={}))
    await adapter_versions.reserve(db, "care")
    await adapter_versions.add(
        db,
        "key_trainer",
        lob="care",
        number=1,
        name="care@1",
        parent=None,
        base_model="m",
        base_hash="h",
        dataset_id="d1",
        recipe={},
        metrics={"canary": CANARY},
        decision=GATE,
        uri="u",
        manifest_hash="h",
        rank=8,
    )
    await routes.switch(db, "care", action="canary", canary="care@1", share=0.1, key_id="key_ann")
    await routes.switch(db, "care", action="promote", live="care@1", key_id="key_bob")
    now = time.time()
    id_ = await task(db, "one", b"{}")
    said = [{**FOUND, "reason": SECRET}, mark(id_)]
    one = make(id="one", version="care@1", created_at=now, guards=said, output=SECRET)
    await interactions.save(db, [one])
    await queue.claim(db, id_, "ann", 10)
    await queue.decide(db, id_, "ann", queue.Decision.APPROVE, b"{}")
    await routes.switch(db, "care", action="rollback", live=None, key_id="key_eve")
    return id_


async def test_an_answer_is_explained_from_its_data_to_its_decision(
    db: Database, interaction: Interactions
) -> None:
    id_ = await seed(db, interaction)
    found = await explanation.explain(db, "one")
    assert (found["version"], found["rule"]) == ("care@1", None)
    assert found["prompt"] == {"name": "care/suggestion", "hash": "0f" * 32}
    made = found["made"]
    assert (made["dataset"], made["gate"], made["canary"]) == ("d1", GATE, CANARY)
    assert [(one["action"], one["key_id"]) for one in made["rollouts"]] == [
        ("canary", "key_ann"),
        ("promote", "key_bob"),
    ]
    assert [(one["action"], one["key_id"]) for one in made["audit"]] == [
        ("register", "key_trainer")
    ]
    assert found["guards"] == [{k: FOUND[k] for k in ("guard", "action", "kind", "score")}]
    review = found["review"]
    assert (review["id"], review["status"], review["decided_by"]) == (id_, "approved", "ann")
    assert SECRET not in str(found)


async def test_a_rules_answer_names_the_rule_and_a_bases_has_no_version(
    db: Database, interaction: Interactions
) -> None:
    by_rule = interaction(version="rule:hours@2")
    by_base = interaction(version=None)
    await interactions.save(db, [by_rule, by_base])
    found = await explanation.explain(db, by_rule.id)
    assert (found["rule"], found["made"], found["review"]) == ("rule:hours@2", None, None)
    assert any("no model was asked" in line for line in explain.lines(found))
    found = await explanation.explain(db, by_base.id)
    assert (found["rule"], found["made"]) == (None, None)
    assert any("the base (base)" in line for line in explain.lines(found))


async def test_a_review_that_is_not_kept_any_more_is_named(
    db: Database, interaction: Interactions
) -> None:
    one = interaction(guards=[mark("review-gone")])
    await interactions.save(db, [one])
    review = (await explanation.explain(db, one.id))["review"]
    assert (review["id"], review["status"]) == ("review-gone", None)


async def test_what_is_not_stored_is_not_explained(db: Database) -> None:
    with pytest.raises(NotFound, match="no interaction nothing"):
        await explanation.explain(db, "nothing")


def test_the_command_says_it_to_a_person_and_to_a_program(
    tmp_path: Path, interaction: Interactions
) -> None:
    config = tmp_path / "switchboard.yaml"
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    config.write_text(f"model: base\nlobs:\n  care: {{}}\nstore:\n  url: {url}\n")

    async def prepare() -> None:
        db = Database(url)
        await db.open()
        await seed(db, interaction)
        await db.close()

    asyncio.run(prepare())

    def call(*args: str) -> Any:
        done = CliRunner().invoke(cli.app, ["explain", "one", *args, "-c", str(config)])
        assert done.exit_code == 0, done.output
        return done.output

    said = call()
    for part in (
        "Answered by: care@1",
        "Prompt: care/suggestion 0f0f",
        "Dataset: d1",
        "Gate: accepted",
        "+ better",
        "Canary: no harm in 120 conversations",
        "promote by key_bob",
        "Guard: claims: amount, review, 0.9",
        "approved by ann",
    ):
        assert part in said
    assert "key_eve" not in said, "a rollback after the answer"
    found = json.loads(call("--json"))
    assert (found["id"], found["made"]["dataset"]) == ("one", "d1")
