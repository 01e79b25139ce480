"""The commands over a real store: what they show, and what a server would take."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serving.errors import InvalidRequest, NotFound
from serving.intents import published
from serving.store import audit
from serving.store.database import Database
from tests.training.intents.test_material import FREE, insight, store
from training.cli.intents import app
from training.errors import TooLittleData

SAID = {
    "refund": ["refund my money please", "i want my money back", "money refund now please"],
    "late": ["where is my parcel now", "my parcel is late", "late parcel please"],
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training" / "default.yaml").write_text("{}\n")
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: {tmp_path}\nprompts: {tmp_path / 'prompts'}\n"
        "lobs: {care: {insights: {intents: {late: Late, refund: Money back}}}, sales: {}}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
        f"adapters: {{uri: {tmp_path / 'adapters'}}}\n"
    )
    return file


def fill(config: Path, work: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        db = Database(f"sqlite:///{config.parent / 'store.sqlite'}")
        await db.open()
        await work(db)
        await db.close()

    asyncio.run(run())


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def free(config: Path) -> None:
    rows = [
        insight(f"{name}{n}", {"intent": f"{text} +1 202 555 0{100 + n}"}, form=FREE)
        for name, texts in SAID.items()
        for n, text in enumerate(texts * 3)
    ]
    fill(config, lambda db: store(db, *rows))


def corrected(config: Path, *, engine: str | None, judged_by: str) -> None:
    rows = []
    for n in range(240):
        intent = list(SAID)[n % 2]
        text = SAID[intent][n % 3]
        right = engine is None or engine == intent
        edit = {"edit": json.dumps({"intent": intent})}
        said = {"used": True} if right and judged_by == "use" else edit
        shown = {"intent": intent if right else engine}
        rows.append(insight(f"i{n:03}", shown, said, text=text))
    fill(config, lambda db: store(db, *rows))


def test_free_intents_are_grouped_counted_and_shown_without_values(config: Path) -> None:
    free(config)
    result = call(config, "propose", "care", "--json", "--min-count", "3")
    assert result.exit_code == 0, result.output
    assert "555" not in result.output
    found = json.loads(result.output)
    assert (found["source"], found["embedded_by"]) == ("insights", "words")
    assert found["conversations"] == 18
    assert sum(one["count"] for one in found["intents"]) + found["left"] == 18
    names = " ".join(one["name"] for one in found["intents"])
    assert {"money", "parcel"} <= {*names.replace("_", " ").split()}


def test_a_person_reads_a_table_and_nothing_changes(config: Path) -> None:
    free(config)
    before = config.read_text()
    result = call(config, "propose", "care")
    assert result.exit_code == 0, result.output
    assert "18 conversations, intents of insights, compared by words." in result.output
    assert "Nothing was changed" in result.output
    assert config.read_text() == before

    async def noted(db: Database) -> None:
        (entry,) = await audit.tail(db, 1)
        assert (entry.action, entry.target) == ("propose_intents", "care")

    fill(config, noted)


def test_nothing_to_group_says_so(config: Path) -> None:
    assert isinstance(call(config, "propose", "care").exception, TooLittleData)
    assert isinstance(call(config, "propose", "cars").exception, NotFound)


def test_a_better_classifier_is_published_and_preferred(config: Path) -> None:
    corrected(config, engine="late", judged_by="use")
    result = call(config, "train", "care", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["learned"] + told["held_out"] == 240
    assert told["classical"]["mean"] == 1
    assert told["prefers"] == "classical"
    live = published.live(str(config.parent / "adapters"), "care")
    assert live is not None
    assert (live.sha256, live.prefers) == (told["classifier"], "classical")
    said = published.read(str(config.parent / "adapters"), "care", live).guess(["a late parcel"])
    assert said is not None
    assert said.intent == "late"


def test_a_good_engine_stays_preferred(config: Path) -> None:
    corrected(config, engine=None, judged_by="use")
    result = call(config, "train", "care", "--holdout", "0.5")
    assert result.exit_code == 0, result.output
    assert "The engine, of those that it answered: 100.0%" in result.output
    assert "`auto` goes by the engine" in result.output


def test_what_is_missing_is_said(config: Path) -> None:
    assert isinstance(call(config, "train", "care").exception, TooLittleData)
    assert isinstance(call(config, "train", "sales").exception, InvalidRequest)
    assert published.live(str(config.parent / "adapters"), "care") is None
