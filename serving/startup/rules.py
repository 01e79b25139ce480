"""`switchboard rules`: test a configuration's rules, list them, and see what became of them."""

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from serving.config import settings as settings_module
from serving.errors import ConfigError
from serving.startup.keys import DEFAULT_CONFIG, Config
from serving.terminal import Json, print_json

app = typer.Typer(no_args_is_help=True, help="Answers without a model: test, list, report.")
console = Console(highlight=False, soft_wrap=True)


@app.command("test")
def run_tests(config: Config = DEFAULT_CONFIG) -> None:
    """Run the tests that stand beside the rules; one that fails is exit status 1."""
    from serving.rules import testing

    settings = settings_module.load(config)
    ran = failed = 0
    for lob, line in settings.lobs.items():
        for result in testing.run(line.rules):
            ran += 1
            if result.fault is None:
                continue
            failed += 1
            console.print(f"{lob} {result.rule}: {result.says!r}: {result.fault}", markup=False)
    if failed:
        raise ConfigError(f"{failed} of {ran} tests of rules failed.")
    console.print(f"{ran} tests of rules passed.")


@app.command("list")
def list_(json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """List the rules in the order in which they are tried."""
    if json_:
        lobs = settings_module.load(config).lobs
        print_json({lob: line.rules for lob, line in lobs.items() if line.rules})
        return
    table = Table("line", "rule", "tasks", "says", "tests")
    for lob, line in settings_module.load(config).lobs.items():
        for rule in line.rules:
            says = rule.answer if rule.route is None else f"→ {rule.route}"
            table.add_row(lob, rule.artifact, ", ".join(rule.tasks), says, str(len(rule.tests)))
    console.print(table)


@app.command("report")
def report(
    lob: Annotated[str, typer.Argument(help="Line of business.")],
    days: Annotated[float, typer.Option(min=0, help="How far back.")] = 30.0,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what became of rules' answers, by version: used, edited, rejected."""
    from serving.rules import report as reports
    from serving.store.database import Database

    settings = settings_module.load(config)
    settings.require_lob(lob)

    async def read() -> list[reports.RuleReport]:
        db = Database(settings.store_address)
        await db.open()
        try:
            return await reports.report(db, lob, time.time() - days * 86_400)
        finally:
            await db.close()

    found = asyncio.run(read())
    if json_:
        print_json(found)
        return
    table = Table("rule", "answers", "used", "edited", "rejected")
    for one in found:
        counts = (one.answers, one.used, one.edited, one.rejected)
        table.add_row(one.artifact, *map(str, counts))
    console.print(table)
