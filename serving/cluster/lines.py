"""What the parts of a replica take of the settings."""

from pathlib import Path

from serving.config.limits import LobLimits
from serving.config.settings import Settings


def fallbacks(settings: Settings) -> dict[str, list[str]]:
    """Return each line's fallback chain."""
    return {name: lob.fallback for name, lob in settings.lobs.items()}


def upstreams(settings: Settings) -> dict[str, str]:
    """Return the model of each upstream."""
    return {name: upstream.model for name, upstream in settings.upstreams.items()}


def limits(settings: Settings) -> dict[str, LobLimits]:
    """Return each line's limits; the base model's under no name."""
    return {"": settings.limits.base} | {name: lob.limits for name, lob in settings.lobs.items()}


def base_folder(settings: Settings) -> Path | None:
    """Return the base's files, unless `model` is a hub id."""
    return Path(settings.model) if Path(settings.model).is_dir() else None
