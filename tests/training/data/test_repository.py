"""Datasets over a real store, of each kind in turn where SQL matters."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from serving.adapters import prompts as own_prompts
from serving.config.lobs import Lob
from serving.errors import Conflict, NotFound
from serving.store import datasets, events, feedback, interactions
from serving.store.database import Database
from serving.store.events import EventRecord
from serving.store.tables import Feedback, Interaction
from tests.training.records import feedback as said
from tests.training.records import labelled, suggested
from training.data import dataset, repository
from training.data.curation import curate
from training.data.dataset import Dataset
from training.data.forms.form import Form
from training.data.streaming.sources import sources
from training.errors import DatasetError
from training.recipe.curation import CurationConfig

RULES = CurationConfig(
    min_examples=2, min_conversations=3, min_holdout=2, golden_share=0.2, golden_conversations=3
)

_TURNS = "{% for turn in turns %}{{ turn.text }}{% endfor %}{% endblock %}"
OLD, NEW = ("{% block user %}" + name + ": " + _TURNS for name in ("Old", "New"))


async def add(db: Database, first: int, count: int, **fields: Any) -> None:
    rows = [
        labelled(f"i{n}", {"edit": f"é final {n}"}, created_at=float(n), **fields)
        for n in range(first, first + count)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(db, row.feedback[0])


def conversations(built: Dataset, split: str) -> set[str]:
    return {e.conversation_id for e in getattr(built, split)}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def build(db: Database, root: Path, **rules: Any) -> Dataset:
    return await repository.build(db, "care", RULES.model_copy(update=rules), root)


async def test_building_again_changes_nothing(sqlite_db: Database, tmp_path: Path) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path)
    assert await build(sqlite_db, tmp_path) == first


async def test_a_manifest_makes_the_same_bytes_whatever_came_since(
    db: Database, tmp_path: Path
) -> None:
    await add(db, 0, 40)
    first = await build(db, tmp_path / "a")
    await add(db, 40, 20)
    await feedback.add(db, said("i3", 9000.0, edit="second thoughts"))
    assert (await build(db, tmp_path / "a")).id != first.id
    again = await repository.rebuild(db, first.manifest, tmp_path / "b")
    assert again.id == first.id
    assert content(again.folder) == content(first.folder)


async def test_a_dataset_from_before_the_freeze_is_rebuilt_after_it(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path / "a", golden_conversations=30)
    assert first.golden
    assert first.manifest["splits"]["golden"] is None
    assert (await build(sqlite_db, tmp_path / "a")).manifest["splits"]["golden"]
    again = await repository.rebuild(sqlite_db, first.manifest, tmp_path / "b")
    assert content(again.folder) == content(first.folder)


async def test_a_manifest_with_its_rows_inline_is_rebuilt_as_it_was(
    sqlite_db: Database, tmp_path: Path
) -> None:
    """Manifests of before there was `sources.jsonl`."""
    await add(sqlite_db, 0, 40)
    rows = await interactions.labelled(sqlite_db, lob="care")
    rules = RULES.model_copy(update={"golden_share": 0.0})
    curated = curate("care", rows, rules)
    coverage = {"shown": 40, "judged": 40}
    old = dataset.write("care", curated, rules, tmp_path / "a", sources(rows), coverage=coverage)
    assert old.manifest["sources"].keys() == {f"i{n}" for n in range(40)}
    again = await repository.rebuild(sqlite_db, old.manifest, tmp_path / "b")
    assert content(again.folder) == content(old.folder)


async def test_what_is_read_in_pages_is_what_is_curated_at_once(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    built = await build(sqlite_db, tmp_path, golden_share=0.0)
    rows = await interactions.labelled(sqlite_db, lob="care")
    rules = RULES.model_copy(update={"golden_share": 0.0})
    whole = dataset.write("care", curate("care", rows, rules), rules, tmp_path / "whole")
    for name in dataset.FILES:
        assert (built.folder / name).read_bytes() == (whole.folder / name).read_bytes()


async def test_rows_whose_file_is_gone_are_not_guessed(sqlite_db: Database, tmp_path: Path) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path / "a")
    file = first.folder / "sources.jsonl"
    aside = tmp_path / "aside"
    aside.mkdir()
    file.rename(aside / file.name)
    with pytest.raises(DatasetError, match=r"sources\.jsonl with the rows .* is gone or changed"):
        await repository.rebuild(sqlite_db, first.manifest, tmp_path / "b")
    again = await repository.rebuild(sqlite_db, first.manifest, tmp_path / "b", aside)
    assert again.id == first.id


async def test_a_row_that_is_gone_or_changed_is_named(sqlite_db: Database, tmp_path: Path) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path)
    async with sqlite_db.session() as connection:
        await connection.execute(
            Feedback.__table__.update()  # type: ignore[attr-defined]
            .where(Feedback.interaction_id == "i7")
            .values(edit="forged")
        )
    with pytest.raises(DatasetError, match="interaction i7 or its feedback is not what it was"):
        await repository.rebuild(sqlite_db, first.manifest, tmp_path)
    async with sqlite_db.session() as connection:
        await connection.execute(delete(Feedback).where(Feedback.interaction_id == "i7"))
        await connection.execute(delete(Interaction).where(Interaction.id == "i7"))
    with pytest.raises(DatasetError, match="interaction i7 is no longer in the store"):
        await repository.rebuild(sqlite_db, first.manifest, tmp_path)


async def test_a_feedback_that_is_gone_is_named(sqlite_db: Database, tmp_path: Path) -> None:
    await add(sqlite_db, 0, 40)
    later, _ = await feedback.add(sqlite_db, said("i7", 9000.0, edit="later"))
    first = await build(sqlite_db, tmp_path)
    async with sqlite_db.session() as connection:
        await connection.execute(delete(Feedback).where(Feedback.id == later.id))
    with pytest.raises(DatasetError, match=f"feedback {later.id} on interaction i7 is no longer"):
        await repository.rebuild(sqlite_db, first.manifest, tmp_path)


async def test_what_cannot_be_rebuilt_leaves_nothing(sqlite_db: Database, tmp_path: Path) -> None:
    await add(sqlite_db, 0, 40)
    manifest = (await build(sqlite_db, tmp_path / "a")).manifest
    other = {**manifest, "made_by": {**manifest["made_by"], "curation": 1}}
    with pytest.raises(DatasetError, match=r"made by curation 1 \(here 5\)"):
        await repository.rebuild(sqlite_db, other, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(DatasetError, match="by importing its file again"):
        await repository.rebuild(sqlite_db, {**manifest, "kind": "import"}, tmp_path)


async def test_no_conversation_is_in_two_splits_over_cycles_and_the_golden_set_stays(
    db: Database, tmp_path: Path
) -> None:
    learned: set[str] = set()
    golden: list[set[str]] = []
    for cycle in range(4):
        await add(db, cycle * 15, 15)
        built = await build(db, tmp_path)
        train, rolling = conversations(built, "train"), conversations(built, "rolling")
        golden.append(conversations(built, "golden"))
        assert not train & rolling
        assert not (train | rolling) & golden[-1]
        learned |= train | conversations(built, "labels")
        assert not learned & (rolling | golden[-1])
        assert built.holdout == built.golden + built.rolling
    frozen = [g for g in golden if len(g) >= 3]
    assert len(frozen) >= 2
    assert all(g == frozen[0] for g in frozen)


async def test_a_golden_set_keeps_the_words_that_it_was_frozen_with(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path)
    for example in first.golden:
        await feedback.add(sqlite_db, said(example.interaction_id, 9000.0, edit="later word"))
    second = await build(sqlite_db, tmp_path)
    assert second.id != first.id
    assert second.golden == first.golden
    kept = next(f for f in second.manifest["filters"] if f["name"].startswith("not in the frozen"))
    assert kept["dropped"] == len(first.golden)


async def test_a_golden_set_whose_files_are_lost_is_made_again(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    first = await build(sqlite_db, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "lost")
    again = await build(sqlite_db, tmp_path / "b")
    assert (again.id, again.golden) == (first.id, first.golden)
    assert first.manifest["splits"]["golden"]


async def test_datasets_are_found_by_the_beginning_of_their_id(
    db: Database, tmp_path: Path
) -> None:
    await add(db, 0, 40)
    built = await build(db, tmp_path)
    assert await repository.find(db, built.id[:12]) == built
    kinds = [record.manifest["kind"] for record in await datasets.list_all(db, "care")]
    assert sorted(kinds) == ["feedback", "golden"]
    assert await datasets.list_all(db, "sales") == []
    with pytest.raises(NotFound, match="there is no dataset 'none'"):
        await datasets.find(db, "none")
    with pytest.raises(NotFound):
        await datasets.find(db, "%")
    for n in range(17):  # among so many two begin alike
        record = (await datasets.list_all(db))[0]
        await datasets.save(db, record.model_copy(update={"id": f"ab{n}"}))
    with pytest.raises(Conflict, match="several datasets begin with 'ab'"):
        await datasets.find(db, "ab")


async def test_a_typed_text_is_known_and_what_was_held_back_in_silence_was_not_shown(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    before = (await build(sqlite_db, tmp_path)).manifest["coverage"]
    judging = next(iter(conversations(await build(sqlite_db, tmp_path), "rolling")))
    drawn: dict[str, dict[str, Any]] = {
        "silent": {},
        "typed": {},
        "held": {"holdback": 0.1, "shown_by_draw": False},
        "held-typed": {"holdback": 0.1, "shown_by_draw": False},
    }
    at = {"created_at": 39.0, "conversation_id": judging}
    rows = {n: labelled(n, **at, **draw).interaction for n, draw in drawn.items()}
    await interactions.save(sqlite_db, list(rows.values()))
    for name in ("typed", "held-typed"):
        text = f"é typed {name}"
        event = EventRecord(event_id=name, interaction_id=name, kind="typed", at=1.0, text=text)
        known = events.judgement(event, rows[name])
        assert known is not None
        await feedback.add(sqlite_db, known)
    after = await build(sqlite_db, tmp_path)
    assert after.manifest["coverage"]["judged"] == before["judged"] + 2
    assert after.manifest["coverage"]["shown"] == before["shown"] + 3
    assert {"é typed typed", "é typed held-typed"} <= {e.target for e in after.rolling}


async def test_the_manifest_in_the_store_is_the_one_on_disk(db: Database, tmp_path: Path) -> None:
    await add(db, 0, 40)
    built = await build(db, tmp_path)
    record = await datasets.get(db, built.id)
    assert record is not None
    assert record.manifest == built.manifest
    assert json.loads((built.folder / dataset.MANIFEST).read_text()) == built.manifest


async def test_datasets_of_several_candidates_are_rebuilt(db: Database, tmp_path: Path) -> None:
    choices = [{"index": i, "message": {"content": f"shown {i}"}} for i in range(3)]
    said = {"edit": "first"}, {"index": 1, "rating": 1.0}, {"index": 2, "used": True}
    rows = [
        labelled(f"i{n}", *said, created_at=float(n), response={"choices": choices})
        for n in range(40)
    ]
    await interactions.save(db, [row.interaction for row in rows])
    for row in rows:
        for one in row.feedback:
            await feedback.add(db, one)
    built = await build(db, tmp_path / "a")
    assert {e.interaction_id.partition("#")[2] for e in built.golden} == {"", "1", "2"}
    golden = await repository.golden(db, "care", tmp_path / "a")
    assert golden is not None
    for one in (built, golden):
        again = await repository.rebuild(db, one.manifest, tmp_path / "b")
        assert content(again.folder) == content(one.folder)


def test_the_hash_of_a_row_is_what_it_was_before_candidates() -> None:
    row = labelled("a", {"edit": "final"}, response={"choices": [{"index": 1, "text": "x"}]})
    hashed = sources([row])["a"]["sha256"]
    assert hashed == "5116544074160ca7541187895d288900f79a51dfa6e73d689a04dc5ccf3bdac0"


async def test_a_line_s_own_prompt_gives_examples_its_form_and_rebuilds_them(
    sqlite_db: Database, tmp_path: Path
) -> None:
    """Of forty rows another prompt made, the turns of thirty are stored."""
    old = own_prompts.parse({"suggestion": OLD}, "care@1")["suggestion"]
    rows = [
        suggested(
            f"i{n}",
            {"edit": f"final {n}"},
            prompt=old,
            turns=n < 30,
            created_at=float(n),
            conversation_id=f"c{n}",
        )
        for n in range(40)
    ]
    await interactions.save(sqlite_db, [row.interaction for row in rows])
    for row in rows:
        await feedback.add(sqlite_db, row.feedback[0])
    texts: Any = {"suggestion": NEW}
    form = Form("care@9", "care", Lob(), own_prompts.parse(texts, "care@9"), texts)
    built = await repository.build(sqlite_db, "care", RULES, tmp_path / "a", form)
    told = built.manifest["prompts"]
    assert (told["rendered_anew"], told["as_stored"]) == (30, 10)
    for one in (*built.train, *built.holdout):
        new = int(one.interaction_id[1:]) < 30
        assert one.messages[0].content.startswith("New: " if new else "Old: ")
    assert all(one.asked is None for one in built.train)
    held = [one for one in built.holdout if int(one.interaction_id[1:]) < 30]
    assert held
    assert all(one.asked and one.asked["hash"] != old.hash for one in held)
    again = await repository.rebuild(sqlite_db, built.manifest, tmp_path / "b")
    assert content(again.folder) == content(built.folder)
    plain = await build(sqlite_db, tmp_path / "c")
    assert "prompts" not in plain.manifest
    assert all(one.messages[0].content.startswith("Old: ") for one in plain.train)


async def test_rows_without_turns_make_the_bytes_that_they_made_before(
    sqlite_db: Database, tmp_path: Path
) -> None:
    await add(sqlite_db, 0, 40)
    built = await build(sqlite_db, tmp_path)
    for name in dataset.FILES:
        assert b'"asked"' not in (built.folder / name).read_bytes()
    rows = await interactions.labelled(sqlite_db, lob="care")
    told = {**rows[0].interaction.request, "previous": {"turns": 1}}
    other = rows[0].interaction.model_copy(update={"request": told, "prompt_hash": "0" * 16})
    before = sources([rows[0]])
    assert sources([rows[0].model_copy(update={"interaction": other})]) == before
