"""`switchboard adapters retrain-without`: the successor of a version that knows what was erased."""

from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_OUT,
    Config,
    Out,
    RecipePath,
    RunningOrPrivateUrl,
)

if TYPE_CHECKING:
    from serving.store.records import AdapterVersion
    from training.recipe.recipe import Recipe


def retrain_without(
    version: Annotated[str, typer.Argument(help="A tainted version, such as care@7.")],
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    url: RunningOrPrivateUrl = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Hot-swap the new version if it passes the gate.")
    ] = False,
    out: Out = DEFAULT_OUT,
) -> None:
    """Train a version's successor on its dataset without the erased rows, and judge it.

    It begins from the base, by the version's own recipe unless --recipe names another. The exit
    status is 3 when the gate rejects it.
    """
    import asyncio

    from serving.config import settings as server_settings
    from training import pipeline
    from training.cli.train import REJECTED
    from training.progress import show_steps
    from training.recipe import recipe as recipes

    show_steps()
    settings = server_settings.load(config)
    found = asyncio.run(_tainted(settings.store_address, version))
    chosen = successor_recipe(found, recipes.load(recipe) if recipe else None)
    outcome = asyncio.run(
        pipeline.run(
            found.lob,
            config=config,
            settings=settings,
            recipe=chosen,
            out=out,
            url=url,
            promote=promote,
            dataset_id=found.dataset_id,
        )
    )
    verdict = "accepted" if outcome.decision.accepted else "rejected"
    typer.echo(f"{outcome.version}, without what was erased from {version}: {verdict}")
    typer.echo(f"Report: {outcome.folder / 'report.html'}")
    if not outcome.decision.accepted:
        raise typer.Exit(REJECTED)


def successor_recipe(version: "AdapterVersion", given: "Recipe | None") -> "Recipe":
    """Return how the successor is trained: from the base, since weights remember, too."""
    from training.recipe.recipe import Recipe

    chosen = given or Recipe.model_validate(version.recipe)
    return chosen.model_copy(update={"start": "fresh"})


async def _tainted(url: str, name: str) -> "AdapterVersion":
    from serving.errors import InvalidRequest, NotFound
    from serving.store import adapter_versions
    from serving.store.database import Database
    from serving.store.erasure import datasets

    db = Database(url)
    await db.open()
    try:
        found = await adapter_versions.get(db, name)
        if found is None:
            raise NotFound(f"there is no version {name}", param="version")
        if name not in await datasets.tainted(db):
            raise InvalidRequest(f"nothing that {name} learned from was erased", param="version")
        if "prompt" in found.recipe:
            its = f"{name} is {found.parent} with another prompt, and has its weights"
            said = f"{its}: retrain without for {found.parent}; what is made gets live's prompts"
            raise InvalidRequest(said, param="version")
        if found.dataset_id is None:
            raise InvalidRequest(f"{name} has no dataset: it was imported", param="version")
        return found
    finally:
        await db.close()
