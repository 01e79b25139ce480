"""Adapter versions for tests and drills, registered as a training run does it."""

from pathlib import Path

from serving.adapters import artifacts, validation
from serving.adapters.registry import Registry


async def register(
    registry: Registry, folder: Path, lob: str = "care", *, base_hash: str = "b", rank: int = 8
) -> str:
    """Register the adapter in a folder as a candidate; returns the version's name."""
    version = await registry.register(
        lob,
        await registry.reserve(lob),
        folder,
        parent=None,
        base_model="base",
        base_hash=base_hash,
        dataset_id=None,
        recipe={},
        metrics={},
        rank=rank,
    )
    return version.name


async def register_random(
    registry: Registry,
    folder: Path,
    base: Path,
    lob: str,
    *,
    seed: int,
    rank: int = 8,
    strength: float = 1.0,
) -> str:
    """Make an adapter with random weights for a base model and register it.

    Args:
        registry: Where.
        folder: An empty or missing folder for its files.
        base: The base model's checkpoint.
        lob: The line of business.
        seed: Of the weights.
        rank: Of the adapter.
        strength: How much it changes the base's outputs.
    """
    from tests.tiny_checkpoint import make_adapter

    make_adapter(folder, base, rank=rank, strength=strength, seed=seed)
    base_hash = artifacts.model_hash(base)
    validation.stamp(folder, base_model="base", base_hash=base_hash)
    return await register(registry, folder, lob, base_hash=base_hash, rank=rank)
