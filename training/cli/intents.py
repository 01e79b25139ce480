"""`switchboard intents`: candidates for a line's list, and a classifier from corrections."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.terminal import Json, console, print_json
from training.cli.options import DEFAULT_CONFIG, Config, Lob, RecipePath, with_store

if TYPE_CHECKING:
    from training.intents.run import Proposed, Trained

app = typer.Typer(
    no_args_is_help=True, help="Intents: candidates for a line's list, a classifier for it."
)
DAY_S = 86_400.0


@app.command()
def propose(
    lob: Lob,
    least: Annotated[
        int, typer.Option("--min-count", min=1, help="Conversations that a candidate needs.")
    ] = 5,
    days: Annotated[
        float | None, typer.Option(min=0, help="Only conversations of so many last days.")
    ] = None,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Propose intents by what customers came for; nothing is changed.

    Free intents that /v1/insights stored are grouped by meaning, or customers' first turns where
    there are none. Personal values are shown as what they are, such as [ORDER].
    """
    import dataclasses
    import time

    from training.intents import run

    since = None if days is None else time.time() - days * DAY_S
    found = with_store(
        config, lambda db, settings: run.propose(db, settings, lob, least=least, since=since)
    )
    if json_:
        print_json(dataclasses.asdict(found))
        return
    _show(found)


@app.command()
def train(
    lob: Lob,
    holdout: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the conversations that only judge.")
    ] = 0.25,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
) -> None:
    """Train a line's classifier of intents from feedback on insights, and publish it.

    An edit corrects an intent; `used` or a rating of 0.8 and more confirms it. A running server
    takes it within seconds, where lobs.NAME.insights.intent.model lets it.
    """
    import dataclasses

    from training.intents import run
    from training.recipe import recipe as recipes

    salt = recipes.load(recipe or recipes.find(lob, config)).curation.holdout_salt
    made = with_store(
        config, lambda db, settings: run.train(db, settings, lob, holdout=holdout, salt=salt)
    )
    if json_:
        print_json(
            {
                "classifier": made.published.sha256,
                "learned": made.learned,
                "by_intent": made.by_intent,
                **dataclasses.asdict(made.evaluation),
            }
        )
        return
    _tell(lob, made)


def _show(found: "Proposed") -> None:
    from rich.table import Table

    of = {"insights": "intents of insights", "turns": "customers' first turns"}[found.source]
    typer.echo(f"{found.conversations} conversations, {of}, compared by {found.embedded_by}.")
    table = Table("conversations", "name", "description", "also")
    for one in found.intents:
        also = " / ".join(text[:80] for text in one.examples[1:])
        count = f"{one.count} ({one.share:.0%})"
        table.add_row(count, *(_plain(text) for text in (one.name, one.description[:120], also)))
    console().print(table)
    if found.left:
        typer.echo(f"{found.left} conversations are in groups that are too small.")
    if found.unread:
        typer.echo(f"{found.unread} conversations were not read: their prompt has another form.")
    typer.echo("Nothing was changed. What fits goes into lobs.NAME.insights.intents.")


def _tell(lob: str, made: "Trained") -> None:
    from training.stats.bootstrap import Interval

    def rate(interval: Interval | None) -> str:
        if interval is None:
            return "nothing to count"
        return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}] of {interval.count}"

    judged = made.evaluation
    typer.echo(f"{lob}: classifier {made.published.name} learned from {made.learned} conversations")
    for name, count in made.by_intent.items():
        typer.echo(f"  {name}: {count}")
    typer.echo(f"Right, of held-out conversations: {rate(judged.classical)}")
    typer.echo(f"The engine, of those that it answered: {rate(judged.engine)}")
    typer.echo(f"`auto` goes by the {judged.prefers}: {judged.why}.")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split()))
