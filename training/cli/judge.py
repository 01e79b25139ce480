"""`switchboard judge`: may a model judge? Past feedback says, without training anything."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.terminal import Json, print_json
from training.cli.options import (
    DEFAULT_CONFIG,
    Config,
    Lob,
    RecipePath,
    RunningOrPrivateUrl,
)

if TYPE_CHECKING:
    from training.evaluation.judge_agreement import Agreement

DISTRUSTED = 3
"""Exit status for a judge that is not shown to agree with people."""


def judge(
    lob: Lob,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    model: Annotated[
        str | None, typer.Option(help="The judge; by default the recipe's, else the base.")
    ] = None,
    url: RunningOrPrivateUrl = None,
    json_: Json = False,
) -> None:
    """Ask a judge what people decided before, and say whether to trust it.

    The API key is read from SWITCHBOARD_API_KEY. The exit status is 3 when the judge is not shown
    to agree with people better than chance.
    """
    import asyncio
    import os

    from serving.config import settings as server_settings
    from training.evaluation import judge_check
    from training.recipe import recipe as recipes

    loaded = recipes.load(recipe or recipes.find(lob, config))
    if model is not None:
        loaded = loaded.model_copy(
            update={"judge": loaded.judge.model_copy(update={"model": model})}
        )
    from training.progress import show_steps

    show_steps()
    found = asyncio.run(
        judge_check.run(
            lob,
            config=config,
            settings=server_settings.load(config),
            recipe=loaded,
            url=url,
            api_key=os.environ.get("SWITCHBOARD_API_KEY"),
        )
    )
    if json_:
        print_json({**vars(found), "trusted": found.trusted, "words": found.words})
    else:
        _show(found)
    if not found.trusted:
        raise typer.Exit(DISTRUSTED)


def _show(found: "Agreement") -> None:
    from training.stats.bootstrap import Interval

    def rate(interval: Interval | None) -> str:
        if interval is None:
            return "nothing to count"
        return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}] of {interval.count}"

    tally = found.tally
    typer.echo(f"Agreement, by decided conversations: {rate(found.share)}")
    for task, share in found.by_task.items():
        typer.echo(f"  {task}: {rate(share)}")
    if found.kappa is not None:
        kappa = found.kappa
        typer.echo(f"Cohen's kappa: {kappa.mean:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]")
    typer.echo(f"Verdict flips with the order, of pairs: {rate(tally.position_bias)}")
    typer.echo(f"Ties, of pairs: {rate(tally.tied)}")
    typer.echo(f"No verdict, of pairs: {rate(tally.malformed)}")
    typer.echo(found.words)
