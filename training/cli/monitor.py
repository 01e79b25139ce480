"""`switchboard monitor`: what production is worth, and whether it drifts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.terminal import Json, console, print_json
from training.cli.options import DEFAULT_CONFIG, Config, Lob, RecipePath, RunningUrl

if TYPE_CHECKING:
    from training.monitoring.grades import Grade
    from training.monitoring.report import Report
    from training.stats.bootstrap import Interval

ALARMED = 3
"""Exit status of a look that found an alarm."""


def monitor(
    lob: Lob,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    grades: Annotated[
        Path | None,
        typer.Option(help="Grades of answers, a JSON object a line: answer, grader, grade."),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge", help="First ask the recipe's judge about what is drawn; adds to --grades."
        ),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Look, tell the webhook of alarms, and note them.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Do so again after so many seconds, until stopped."),
    ] = None,
    json_: Json = False,
    url: RunningUrl = None,
) -> None:
    """Show the figures of production beside their reference, and alarms of drift.

    Without --once or --every nobody is told. The exit status is 3 when there is an alarm. The API
    key for --judge is read from SWITCHBOARD_API_KEY. docs/monitoring.md defines each figure.
    """
    import asyncio
    import contextlib
    import os
    import signal

    from serving.config import settings as server_settings
    from serving.store.database import Database
    from training.monitoring import grades as grading
    from training.monitoring import judging, monitor
    from training.progress import show_steps
    from training.recipe import recipe as recipes

    if judge and grades is None:
        raise typer.BadParameter("--judge needs --grades: the file to which its grades are added.")
    if every is not None and (judge or once):
        raise typer.BadParameter("--every goes with neither --once nor --judge.")
    show_steps()
    settings = server_settings.load(config)
    settings.require_lob(lob)
    loaded = recipes.load(recipe or recipes.find(lob, config))

    def given() -> "list[Grade]":
        return grading.read(grades) if grades is not None and grades.exists() else []

    async def main() -> "Report":
        task = asyncio.current_task()
        if task is not None:  # SIGTERM ends it as Ctrl-C does
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        db = Database(settings.store_address)
        await db.open()
        try:
            if every is not None:
                await monitor.run(lob, db=db, recipe=loaded, given=given, every_s=every, seen=shown)
            found = await monitor.look(db, lob, loaded, given())
            if judge and grades is not None and found.to_judge:
                new = await judging.ask(
                    db,
                    found.to_judge,
                    settings,
                    lob,
                    loaded,
                    url=url or settings.url,
                    api_key=os.environ.get("SWITCHBOARD_API_KEY"),
                )
                grading.append(grades, new)
                found = await monitor.look(db, lob, loaded, given())
            if once:
                await monitor.tell(db, found, loaded.flywheel)
            return found
        finally:
            await db.close()

    def shown(found: "Report") -> None:
        if json_:
            print_json(found.as_json())
        else:
            _show(found)

    found = None
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        found = asyncio.run(main())
    if found is None:
        return
    shown(found)
    if found.alarms:
        raise typer.Exit(ALARMED)


def _show(found: "Report") -> None:
    from rich.table import Table

    from serving.observability.alarm import utc

    at = found.windows
    typer.echo(
        f"{found.lob}: {found.answers[1]} answers in {found.conversations[1]} conversations since "
        f"{utc(at.begins)}, beside {found.answers[0]} in {found.conversations[0]} from "
        f"{utc(at.since)} to {utc(at.until)}"
    )
    table = Table("figure", "a fault is", "reference", "present", "evidence", "alarm")
    for one in found.watched:
        drift = one.drift
        table.add_row(
            one.rule.metric,
            f"{one.rule.direction} by more than {one.rule.margin:g}",
            _words(None if drift is None else drift.reference),
            _words(None if drift is None else drift.present),
            f"{drift.evidence:.3g} of {drift.needed:.0f}" if drift else "",
            f"after {drift.after} conversations" if drift and drift.after else "",
        )
    console().print(table)
    for name, mean in found.quality.items():
        if mean is not None:
            typer.echo(
                f"People's mean grade, helped by {name}: {_words(mean.powered)} of "
                f"{mean.powered.count} grades; alone {_words(mean.alone)}"
            )
    for agreed in found.agreements:
        kappa = "" if agreed.kappa is None else f", kappa {_words(agreed.kappa)}"
        typer.echo(
            f"{' and '.join(agreed.graders)} agree on {_words(agreed.share)} of "
            f"{agreed.answers} answers{kappa}"
        )
    for name, plan in found.plans.items():
        todo = found.to_grade if name == "people" else found.to_judge
        width = "" if plan.half_width is None else f", which give ±{plan.half_width:.3f}"
        cap = f" (the cost allows no more; {plan.needed} are needed)" if plan.capped else ""
        typer.echo(
            f"Drawn for {name}: {plan.share:.1%} of the answers, {plan.grades} a period{width}"
            f"{cap}; cost {plan.cost:g}. {len(todo)} wait."
        )


def _words(one: "Interval | None") -> str:
    if one is None:
        return "–"  # noqa: RUF001
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
