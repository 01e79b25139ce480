"""`switchboard adapters import`: an adapter that was trained elsewhere becomes a candidate."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.config import settings as settings_module
from serving.startup.keys import DEFAULT_CONFIG, Config


def import_(
    folder: Annotated[
        Path,
        typer.Argument(help="A PEFT folder, a Hub snapshot or a trainer's checkpoint-N."),
    ],
    lob: Annotated[str, typer.Option(help="Line of business that it is for.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Check an adapter that was trained elsewhere and register it as a candidate."""
    settings = settings_module.load(config)
    settings.require_lob(lob)
    with tempfile.TemporaryDirectory(prefix="switchboard-import-") as scratch:
        name = asyncio.run(_register(folder, Path(scratch) / "adapter", lob, settings))
    typer.echo(
        f"{name} is registered as a candidate.\n"
        f"Next: `switchboard adapters canary {name}`, or `promote`."
    )


async def _register(source: Path, target: Path, lob: str, settings: Any) -> str:
    from serving.adapters import artifacts, intake
    from serving.adapters.registry import Registry
    from serving.adapters.validation import check_adapter
    from serving.store.database import Database

    base = artifacts.model_folder(settings.model)
    base_hash = artifacts.model_hash(base)
    taken = intake.take(source, target, base_model=settings.model, base_hash=base_hash, base=base)
    for line in _told(taken, settings.model):
        typer.echo(line)
    rank = check_adapter(
        target, base_hash=base_hash, max_rank=settings.adapters.max_rank, base_folder=base
    )
    db = Database(settings.store_address)
    await db.open()
    try:
        registry = Registry(db, settings.adapters.uri)
        version = await registry.register(
            lob,
            await registry.reserve(lob),
            target,
            parent=None,
            base_model=settings.model,
            base_hash=base_hash,
            dataset_id=None,
            recipe={"imported": {"made_for": taken.made_for, "renamed": len(taken.renamed)}},
            metrics={},
            rank=rank,
        )
    finally:
        await db.close()
    return version.name


def _told(taken: Any, base_model: str) -> list[str]:
    """What a person must know of the difference between what was given and what was taken."""
    lines = []
    if taken.left_out:
        lines.append(f"Left out: {', '.join(taken.left_out)}")
    if taken.prompts:
        lines.append(f"With prompts of its own: {', '.join(taken.prompts)}")
    if taken.renamed:
        old, new = next(iter(taken.renamed.items()))
        lines.append(f"Renamed {len(taken.renamed)} tensors, such as {old} to {new}")
    if taken.made_for and taken.made_for != base_model:
        lines.append(
            f"Its configuration names the base {taken.made_for!r}, this server's is "
            f"{base_model!r}: only the layers and their shapes can be compared"
        )
    return lines
