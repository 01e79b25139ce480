"""`switchboard plan`: how many conversations the gate needs, and when they will be there."""

from typing import Annotated

import typer

from serving.terminal import Json, print_json
from training.cli.options import DEFAULT_CONFIG, Config, Lob, RecipePath


def plan(
    lob: Lob,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    effect: Annotated[
        float, typer.Option(min=0.001, max=1, help="The true gain that should be shown.")
    ] = 0.05,
    days: Annotated[
        float, typer.Option(min=0.01, help="Count the conversations of so many days.")
    ] = 14.0,
    json_: Json = False,
) -> None:
    """Say how many judged conversations each of the gate's rules needs, and when they are there."""
    import asyncio
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from serving.config import settings as server_settings
    from training.analysis import plan_run
    from training.analysis.plan import POWER, words
    from training.errors import RecipeError
    from training.recipe import recipe as recipes

    settings = server_settings.load(config)
    settings.require_lob(lob)
    loaded = recipes.load(recipe or recipes.find(lob, config))
    work = plan_run.run(lob, settings=settings, recipe=loaded, days=days, effect=effect)
    try:
        seen, needs = asyncio.run(work)
    except ValueError as exc:
        raise RecipeError(f"--effect: {exc}") from exc
    if json_:
        found = {"pace": asdict(seen), "needs": [need.as_json() for need in needs]}
        print_json(found)
        return
    share = loaded.curation.holdout_share
    typer.echo(
        f"{lob}: {seen.judged} conversations judged in {days:g} days ({share:.0%} are drawn to "
        f"judge); their edit similarity varies by {seen.spread:.2f}. {seen.outside:.0%} of the "
        "answers are outside conversations: they neither teach nor judge."
    )
    table = Table("rule", "margin", "conversations", "there in")
    for need in needs:
        table.add_row(*words(need))
    Console(width=100).print(table)
    typer.echo(f"A true gain of {effect:g} is shown with probability {POWER:.0%} by so many.")
