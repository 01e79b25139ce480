"""`switchboard impact`: what the suggestions are worth, from the store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.terminal import Json, console, print_json
from training.cli.options import DEFAULT_CONFIG, Config

if TYPE_CHECKING:
    from serving.config.settings import Settings
    from training.analysis.impact_report import Report


def impact(
    lob: Annotated[
        str | None, typer.Argument(help="The line of business, such as care; by default all.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Only the last so many days.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version, such as care@3.")] = None,
    json_: Json = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots.")] = None,
    window: Annotated[
        float,
        typer.Option(
            min=0.001, help="A canary's conversation counts so many seconds after it began."
        ),
    ] = 1800.0,
    publish: Annotated[
        bool, typer.Option("--publish", help="Also keep it in the store, for the console's page.")
    ] = False,
    star: Annotated[
        Path | None,
        typer.Option(help="Instead of the store read RasaHQ/STAR's file: its own agents' log."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show usage and time saved by position in the conversation and by version, with intervals.

    docs/impact.md defines each figure and says what it does not show.
    """
    import asyncio

    from serving.config import settings as server_settings
    from training.analysis import impact_report

    if star is not None:
        if days is not None or version is not None:
            raise typer.BadParameter("--days and --version choose in the store, not in --star.")
        if publish:
            raise typer.BadParameter("--publish is of the store's lines, not of --star.")
        reports = [impact_report.of_star(star, lob)]
    else:
        if publish and version is not None:
            raise typer.BadParameter("--publish keeps all versions: leave --version out.")
        settings = server_settings.load(config)
        if lob is not None:
            settings.require_lob(lob)
        lobs = [lob] if lob is not None else list(settings.lobs)
        reports = asyncio.run(
            impact_report.read(settings, lobs, days=days, version=version, window_s=window)
        )
        if publish:
            asyncio.run(_publish(settings, reports))
    if html is not None:
        impact_report.write(reports, html)
    if json_:
        print_json([one.as_json() for one in reports])
        return
    for one in reports:
        _show(one)
    if any(one.rows for one in reports):
        for note in impact_report.notes(reports):
            typer.echo(note)
    if html is not None:
        typer.echo(f"Report: {html}")


async def _publish(settings: "Settings", reports: "list[Report]") -> None:
    from serving.store.database import Database
    from serving.store.reports import impact as published

    db = Database(settings.store_address)
    await db.open()
    try:
        for one in reports:
            await published.publish(db, one.lob, one.as_json())
    finally:
        await db.close()


def _show(report: "Report") -> None:
    from rich.table import Table

    from training.analysis import impact_report

    if not report.rows:
        typer.echo(f"{report.lob}: no answers yet")
        return
    table = Table(*report.head, title=report.lob, title_justify="left")
    for row in report.rows:
        table.add_row(*impact_report.cells(row), end_section=row.position == "all")
    console().print(table)
    for said in report.said:
        typer.echo(said)
    for one in report.comparisons:
        typer.echo(
            f"Canary {one.canary} against {one.control}, by chance, {one.conversations[0]} and "
            f"{one.conversations[1]} conversations: usage {impact_report.words(one.usage, '+.0%')},"
            f" keys {impact_report.words(one.keystrokes, '+.0f')}, handling time saved "
            f"{impact_report.words(one.saved_s, '+.1f')} s"
        )
