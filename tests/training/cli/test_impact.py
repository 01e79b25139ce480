"""The command over a real store, fed by the demo's agents: their dialogs, their edits."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from serving.errors import NotFound
from serving.store import feedback, interactions
from serving.store.database import Database
from serving.store.records import FeedbackRecord, LabelledInteraction
from serving.store.reports import impact as reports
from serving.store.reports.impact import Published
from tests.training.data.formats.dialogs import dialog, write
from tests.training.records import labelled
from training.cli.impact import impact
from training.demo.dialogs import make_dialogs
from training.demo.edits import edit_reply, reply_turns

FAST_S, SLOW_S = 12.0, 40.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose store holds what simulated agents made of two models.

    care@1 writes every second reply as the agent would; base none.
    """
    (tmp_path / "prompts").mkdir()
    file = tmp_path / "s.yaml"
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    file.write_text(
        f"model: hub/model\nlobs: {{care: {{}}, sales: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: '{url}'}}\n"
    )

    async def fill() -> None:
        db = Database(url)
        await db.open()
        rows = [row for n in range(30) for row in worked(n, "base" if n % 2 else "care@1")]
        await interactions.save(db, [row.interaction for row in rows])
        for row in rows:
            await feedback.add(db, row.feedback[0])
        await db.close()

    asyncio.run(fill())
    return file


def worked(number: int, version: str) -> list[LabelledInteraction]:
    """Let the demo's agent work a conversation: keep a right text, else write the line's own."""
    (dialog,) = make_dialogs("care", 1, seed=number)
    rows = []
    for order, turn in enumerate(reply_turns(dialog)):
        good = version == "care@1" and (number // 2 + order) % 2 == 0
        shown = dialog.turns[turn].text if good else "zzz"
        final = edit_reply(dialog, turn, shown)
        row = labelled(
            f"{number}-{turn}",
            {"used": True} if final == shown else {"edit": final},
            created_at=1000.0 * number + turn,
            task="suggestion",
            version=version,
            output=shown,
            conversation_id=dialog.conversation_id,
            turn_position=turn,
        )
        at = row.interaction.created_at + 0.001 + (FAST_S if final == shown else SLOW_S)
        moved = FeedbackRecord.model_validate({**dict(row.feedback[0]), "created_at": at})
        rows.append(row.model_copy(update={"feedback": (moved,)}))
    return rows


def call(config: Path, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(impact)
    result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    if isinstance(result.exception, NotFound):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_the_demo_s_agents_have_the_impact_that_they_were_given(config: Path) -> None:
    (report,) = json.loads(call(config, "care", "--json").output)
    rows = {(row["version"], row["position"]): row for row in report["rows"]}
    adapter, base = rows["care@1", "middle"], rows["base", "middle"]
    assert adapter["usage"]["mean"] == pytest.approx(0.5, abs=0.1)
    assert base["usage"]["mean"] == 0
    assert base["usage"]["high"] < 0.3
    assert (adapter["used_s"], adapter["unused_s"]) == pytest.approx((FAST_S, SLOW_S))
    assert adapter["saved_s"]["mean"] == pytest.approx(SLOW_S - FAST_S)
    assert (base["used_s"], base["saved_s"]) == (None, None)
    assert adapter["keystrokes"]["mean"] > 10
    assert base["keystrokes"]["mean"] == 0
    assert ("all", "all") in rows


def test_the_table_the_page_and_the_choices(config: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "impact.html"
    shown = call(config, "--html", str(page)).output
    assert "care@1" in shown
    assert "sales: no answers yet" in shown
    assert "Observational" in shown
    assert "Timed: 0 by events" in shown
    text = page.read_text()
    assert text.count("<h2>") == 2
    assert "data:image/png;base64," in text
    assert "<td>care@1</td><td>middle</td>" in text
    (report,) = json.loads(call(config, "care", "--version", "care@1", "--json").output)
    assert {row["version"] for row in report["rows"]} == {"care@1"}
    (report,) = json.loads(call(config, "care", "--days", "1", "--json").output)
    assert report["rows"] == []
    with pytest.raises(NotFound, match="care, sales"):
        call(config, "billing")


def test_star_s_own_log_is_read_instead_of_the_store(tmp_path: Path) -> None:
    file = write(tmp_path / "star.jsonl.gz", [dialog(number) for number in range(1, 6)])
    nowhere = tmp_path / "none.yaml"  # no server is needed
    page = tmp_path / "star.html"
    shown = call(nowhere, "hotel", "--star", str(file), "--html", str(page)).output
    assert "Picked: 100% and 0% of the replies in first and last position." in shown
    assert "not a saving" in shown
    assert "difference, s" in shown
    assert "saved, s" not in shown
    assert "data:image/png;base64," in page.read_text()
    (report,) = json.loads(call(nowhere, "--star", str(file), "--json").output)
    assert [row["position"] for row in report["rows"]] == ["first", "last", "all"]
    assert "not a saving" in report["notes"][0]


def test_choices_of_the_store_are_refused_with_star(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(impact)
    result = CliRunner().invoke(app, ["--star", str(tmp_path / "s"), "--days", "3"])
    assert result.exit_code == 2
    assert "--days and --version choose in the store" in result.output


def test_what_was_held_back_says_what_showing_saves(config: Path, tmp_path: Path) -> None:
    async def fill() -> None:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        for number in range(50):
            shown = number % 2 == 0
            said = {"used": True} if shown else {"edit": "Mine.", "used": False}
            draw = {"shown_by_draw": shown, "holdback": 0.5, "turn_position": 1}
            name = {"lob": "sales", "model_requested": "sales", "version": "sales@1"}
            row = labelled(f"s{number}", said, task="suggestion", **draw, **name)
            at = row.interaction.created_at + 0.001 + (FAST_S if shown else SLOW_S)
            await interactions.save(db, [row.interaction])
            await feedback.add(db, row.feedback[0].model_copy(update={"created_at": at}))
        await db.close()

    asyncio.run(fill())
    (report,) = json.loads(call(config, "sales", "--json").output)
    assert report["holdback"]["turns"] == [25, 25]
    assert report["holdback"]["saved_s"]["mean"] == pytest.approx(SLOW_S - FAST_S)
    assert report["rows"][-1]["shown"] == 25
    page = tmp_path / "impact.html"
    said = "By chance, 25 turns were shown and 25 held back"
    assert said in call(config, "sales", "--html", str(page)).output
    assert said in page.read_text()
    assert "By chance, " not in call(config, "care").output


async def published(tmp_path: Path, lob: str) -> Published | None:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    found = await reports.latest(db, lob)
    await db.close()
    return found


def test_a_report_is_kept_for_the_console_where_that_is_asked_for(
    config: Path, tmp_path: Path
) -> None:
    shown = json.loads(call(config, "care", "--json").output)
    assert asyncio.run(published(tmp_path, "care")) is None
    assert json.loads(call(config, "care", "--json", "--publish").output) == shown
    kept = asyncio.run(published(tmp_path, "care"))
    assert kept is not None
    assert [kept.content] == shown
    assert asyncio.run(published(tmp_path, "sales")) is None


@pytest.mark.parametrize("choice", [("--version", "care@1"), ("--star", "s")])
def test_a_part_of_a_report_and_anothers_log_are_not_published(
    config: Path, tmp_path: Path, choice: tuple[str, str]
) -> None:
    app = typer.Typer()
    app.command()(impact)
    arguments = ["--publish", *choice, "--config", str(config)]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "--publish" in result.output) == (2, True)
    assert asyncio.run(published(tmp_path, "care")) is None
