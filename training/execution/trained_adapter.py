"""Is what a training run makes an adapter that the server can serve, all of it?"""

import asyncio
from pathlib import Path

from serving.adapters import artifacts
from serving.config.settings import Settings
from serving.errors import SwitchboardError
from training.errors import FineTuneFailed, RecipeError
from training.recipe.recipe import Recipe
from training.trainers.job import Result


def check_rank(recipe: Recipe, settings: Settings) -> None:
    """Refuse a recipe before it is trained by whose rank the server could serve nothing.

    Raises:
        RecipeError: It exceeds the server's.
    """
    if recipe.lora.rank > settings.adapters.max_rank:
        raise RecipeError(
            f"lora.rank: {recipe.lora.rank} exceeds the server's adapters.max_rank of "
            f"{settings.adapters.max_rank}. Fix: lower the one or raise the other"
        )


async def check(result: Result, settings: Settings, base_hash: str) -> None:
    """Check a trained adapter as an imported one is checked, before it becomes a version.

    Args:
        result: What training gave.
        settings: The server's configuration.
        base_hash: The base that it was trained on.

    Raises:
        FineTuneFailed: It would not be served, or have no effect or only part of one; names why.
    """
    try:
        await asyncio.to_thread(
            artifacts.check_adapter,
            Path(result.adapter),
            base_hash=base_hash,
            max_rank=settings.adapters.max_rank,
            base_folder=artifacts.model_folder(settings.model),
        )
    except SwitchboardError as exc:
        raise FineTuneFailed(f"the trained adapter cannot be served: {exc.message}") from exc
