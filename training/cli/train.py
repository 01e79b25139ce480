"""`switchboard train`, `switchboard canary` and `switchboard demo`.

The server's command line finds these functions through the entry-point group
`switchboard.commands`. Everything heavy is imported inside, so that finding them costs nothing.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from serving.terminal import Json, print_json
from training.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_OUT,
    Config,
    Lob,
    Out,
    RecipePath,
    RunningOrPrivateUrl,
    RunningUrl,
)

REJECTED = 3
"""Exit status of a run whose candidate the gate rejected, or whose canary was rolled back."""

STOPPED = 130
"""Exit status of a run that Ctrl-C stopped, as shells have it."""

canary = typer.Typer(no_args_is_help=True, help="Canaries: watch one, and read what was decided.")


def train(
    lob: Lob,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    url: RunningOrPrivateUrl = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Hot-swap the new version if it passes the gate.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="Id of a dataset to learn from. By default one is built from feedback."),
    ] = None,
    out: Out = DEFAULT_OUT,
    on: Annotated[
        Literal["local", "ray"] | None,
        typer.Option(
            help="Train in a process here, or as a job on the serving cluster; by default as the "
            "recipe's resources.where says."
        ),
    ] = None,
    search: Annotated[
        int,
        typer.Option(min=0, help="Try so many recipes, this one first, and take the best."),
    ] = 0,
) -> None:
    """Fine-tune an adapter from feedback, judge it, and hot-swap it with --promote.

    The API key is read from SWITCHBOARD_API_KEY: role trainer, or admin with --promote. The exit
    status is 3 when the gate rejects the candidate; then nothing that serves has changed.
    """
    import asyncio

    from serving.config import settings as server_settings
    from training import pipeline
    from training.progress import show_steps
    from training.recipe import recipe as recipes

    show_steps()
    settings = server_settings.load(config)
    loaded = recipes.load(recipe or recipes.find(lob, config))
    if on is not None:
        resources = loaded.resources.model_copy(update={"where": on})
        loaded = loaded.model_copy(update={"resources": resources})
    outcome = asyncio.run(
        pipeline.run(
            lob,
            config=config,
            settings=settings,
            recipe=loaded,
            out=out,
            url=url,
            promote=promote,
            dataset_id=dataset,
            trials=search,
        )
    )
    live, candidate = (s.means["edit_similarity"] for s in (outcome.live, outcome.candidate))
    typer.echo(
        f"{outcome.version}: {'accepted' if outcome.decision.accepted else 'rejected'}; edit "
        f"similarity {live.mean:.3f} ({outcome.live.model}) to {candidate.mean:.3f}"
    )
    typer.echo(f"Report: {outcome.folder / 'report.html'}")
    if not outcome.decision.accepted:
        raise typer.Exit(REJECTED)
    if not promote:
        typer.echo(f"Make it live: switchboard adapters promote {outcome.version}")


@canary.command("run")
def canary_run(
    lob: Lob,
    version: Annotated[
        str | None, typer.Option(help="Begin a canary with this version if none runs.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    url: RunningUrl = None,
    once: Annotated[bool, typer.Option("--once", help="Look and act once, as from cron.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 60.0,
) -> None:
    """Watch a canary: grow its share, promote it or roll it back, by the recipe's rules.

    The API key is read from SWITCHBOARD_API_KEY: role admin. The exit status is 3 when the canary
    was rolled back.
    """
    import asyncio
    import os

    from serving.config import settings as server_settings
    from training.canary import watcher
    from training.progress import show_steps
    from training.recipe import recipe as recipes

    show_steps()
    decision = asyncio.run(
        watcher.run(
            lob,
            settings=server_settings.load(config),
            rules=recipes.load(recipe or recipes.find(lob, config)).canary,
            url=url,
            api_key=os.environ.get("SWITCHBOARD_API_KEY"),
            version=version,
            once=once,
            every_s=every,
        )
    )
    for reason in decision.reasons:
        typer.echo(f"  {'+' if reason.passed else '-'} {reason.text}")
    if decision.action == "roll_back":
        raise typer.Exit(REJECTED)


@canary.command("show")
def canary_show(
    version: Annotated[str, typer.Argument(help="Such as care@7.")],
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Show what was decided on a canary and why, oldest first."""
    import asyncio
    import time

    from serving.config import settings as server_settings
    from training.canary import watcher

    entries = asyncio.run(watcher.decisions(server_settings.load(config), version))[::-1]
    if json_:
        print_json(entries)
        return
    for entry in entries:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.created_at))
        detail = entry.detail
        typer.echo(f"{when} {detail['action']} (share {detail['share']:.0%}): {detail['why']}")
        for reason in detail["reasons"]:
            typer.echo(f"  {'+' if reason['passed'] else '-'} {reason['text']}")


@canary.command("shadow")
def canary_shadow(
    lob: Lob,
    version: Annotated[
        str | None, typer.Option(help="The shadow; by default the one that answered last.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    days: Annotated[float, typer.Option(min=0.01, help="Only the last so many days.")] = 14.0,
    effect: Annotated[
        float, typer.Option(min=0.001, max=1, help="The true gain that should be shown.")
    ] = 0.05,
    json_: Json = False,
) -> None:
    """Compare what a shadow answered unseen with what was shown, by the agents' final texts.

    It needs `lobs.LOB.shadow` in the server's configuration. docs/canary.md says what it does not
    show.
    """
    import asyncio

    from serving.config import settings as server_settings
    from training.analysis import shadow_run
    from training.analysis.plan import POWER
    from training.analysis.shadow import words
    from training.recipe import recipe as recipes

    settings = server_settings.load(config)
    settings.require_lob(lob)
    loaded = recipes.load(recipe or recipes.find(lob, config))
    found = asyncio.run(
        shadow_run.run(
            lob, settings=settings, recipe=loaded, version=version, days=days, effect=effect
        )
    )
    if json_:
        print_json(None if found is None else found.as_json())
        return
    if found is None:
        typer.echo(f"{lob}: no answer of a shadow has feedback in {days:g} days")
        return
    typer.echo(
        f"{found.shadow}, unseen, beside {found.live}: {found.answers} answers with feedback, "
        f"{found.conversations} conversations whose final texts are known"
    )
    typer.echo(f"  edit similarity            {words(found.gain)}")
    typer.echo(f"  of the edited answers      {words(found.gain_of_edited)}")
    typer.echo(f"  answers that invent facts  {words(found.invented)}")
    if found.power is not None:
        typer.echo(
            f"A true gain of {effect:g} is shown with probability {POWER:.0%} by "
            f"{found.power.shadow:,} such conversations; a canary alone needs "
            f"{found.power.canary:,} at the least."
        )
    typer.echo(
        "The final texts were made from the shown answers, so the first line is too low, and only "
        "a canary shows what the version is worth."
    )


def demo(
    dialogs: Annotated[
        Path | None,
        typer.Option(help="Your conversations: JSONL, or ABCD's JSON. By default generated ones."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("demo"),
) -> None:
    """Run the whole loop on this machine: serve, capture, edit, fine-tune, swap, roll back."""
    import os

    from training.trainers import cpu

    os.environ.update(cpu.thread_environment())  # before torch is imported
    try:
        from training.demo.run import run

        run(dialogs=dialogs, out=out)
    except KeyboardInterrupt:
        typer.echo(
            "demo: stopped, and no process is left. The same command begins again; a base model "
            "that was finished is kept, so that it takes less time."
        )
        raise typer.Exit(STOPPED) from None
