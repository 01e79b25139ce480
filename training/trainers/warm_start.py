"""The live adapter as the place to start from: fetched, verified, and of the recipe's shape."""

import asyncio
import json
from pathlib import Path
from typing import Any

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.errors import NotFound
from training.errors import RecipeError
from training.recipe.methods import Lora


async def fetch(registry: Registry, name: str, base_hash: str, lora: Lora, cache_dir: Path) -> Path:
    """Return the folder of a version that training may go on from.

    Args:
        registry: The adapter registry.
        name: The version, such as care@7.
        base_hash: The hash of the base that will be trained on.
        lora: The shape that the recipe asks for.
        cache_dir: Where adapters from remote URLs are kept.

    Raises:
        NotFound: There is no such version.
        RecipeError: It lies on another base, or its shape is another.
        AdapterRefused: Its files are not what was registered.
        Unavailable: Its files cannot be read now.
    """
    version = await registry.get(name)
    if version is None:
        raise NotFound(f"there is no version {name!r} to start from")
    if version.base_hash != base_hash:
        raise RecipeError(
            f"start: live is {name}, which was trained on another base ({version.base_hash[:12]}) "
            f"than this one ({base_hash[:12]}). Fix: start: fresh"
        )
    folder = await asyncio.to_thread(artifacts.fetch, version.uri, cache_dir, version.manifest_hash)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if faults := differences(config, lora):
        raise RecipeError(
            f"start: live is {name}, whose shape is another than lora's: {'; '.join(faults)}. "
            "Fix: the same values, or start: fresh"
        )
    return folder


def differences(config: dict[str, Any], lora: Lora) -> list[str]:
    """Return where a PEFT configuration departs from a recipe; its layers are compared later.

    The scale counts too: the same weights under another one are another adapter.
    """
    variant = "rslora" if config.get("use_rslora") else "lora"
    pairs = {
        "lora.rank": (config.get("r"), lora.rank),
        "lora.alpha": (config.get("lora_alpha"), lora.alpha),
        "lora.variant": (variant, lora.variant),
    }
    return [
        f"{key} is {here}, its own {there}" for key, (there, here) in pairs.items() if there != here
    ]
