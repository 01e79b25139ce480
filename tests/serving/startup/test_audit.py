"""`switchboard audit` over a real store."""

import asyncio
import json
from pathlib import Path

from sqlalchemy import text
from typer.testing import CliRunner

from serving import cli
from serving.store import audit
from serving.store.database import Database


def test_an_export_has_every_entry_and_its_head_shows_a_chain_made_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    config = tmp_path / "switchboard.yaml"
    config.write_text(f"model: base\nlobs:\n  care: {{}}\nstore:\n  url: {url}\n")

    async def act(names: str, forget: bool = False) -> None:
        db = Database(url)
        await db.open()
        if forget:
            async with db.session() as connection:
                await connection.execute(text("DELETE FROM audit"))
                await connection.execute(
                    text("UPDATE audit_head SET number = 0, hash = :none"), {"none": audit.GENESIS}
                )
        for name in names:
            await audit.write(db, None, "act", name, {"name": name})
        await db.close()

    asyncio.run(act("abc"))
    runner = CliRunner()
    to = tmp_path / "audit.jsonl"
    why = ["--reason", "the yearly check"]
    done = runner.invoke(cli.app, ["audit", "export", str(to), *why, "-c", str(config)])
    assert done.exit_code == 0, done.output
    head = done.output.splitlines()[-1]
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    assert [row["target"] for row in rows] == ["a", "b", "c", "audit"]
    assert (rows[-1]["action"], rows[-1]["detail"]["reason"]) == ("export_audit", why[1])
    assert head == f"4:{rows[-1]['hash']}"
    again = runner.invoke(cli.app, ["audit", "export", str(to), "-c", str(config)])
    assert "exists already" in str(again.exception)
    verify = ["audit", "verify", "-c", str(config)]
    assert runner.invoke(cli.app, verify).output.endswith(f"{head}\n")
    shown = runner.invoke(cli.app, ["audit", "tail", "-n", "2", "-c", str(config)])
    assert [line.split()[4] for line in shown.output.splitlines()] == ["act", "export_audit"]
    asyncio.run(act("d"))
    assert runner.invoke(cli.app, [*verify, "--head", head]).exit_code == 0
    asyncio.run(act("xyz", forget=True))
    assert runner.invoke(cli.app, verify).exit_code == 0, "a whole chain, but another"
    assert runner.invoke(cli.app, [*verify, "--head", head]).exit_code == 5
