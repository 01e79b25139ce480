"""Versions that bring prompts of their own, on the replica that the gateway's tests share."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.routing import Table
from serving.store.records import Route
from tests import versions
from tests.serving.conftest import Adapters
from tests.serving.gateway.conftest import LOBS, Site

Bring = Callable[..., Awaitable[str]]


class Engine:
    """Notes what it loads."""

    def __init__(self) -> None:
        self.held: list[str] = []

    async def load(self, adapter_id: int, name: str, path: Path) -> bool:
        self.held.append(name)
        return True

    async def unload(self, adapter_id: int, name: str) -> None:
        self.held.remove(name)


@pytest.fixture
def bring(site: Site, adapter: Adapters, tmp_path: Path) -> Bring:
    """Return a function that registers a version of care with these prompts; returns its name.

    They are given by their tasks' names; `load` has the replica load it.
    """
    site.adapters._engine = cast(Any, Engine())
    site.adapters.loaded.clear()  # numbers begin at 1 here
    registry = Registry(site.db, str(tmp_path / "adapters"))

    async def make(*, load: bool = True, **texts: str) -> str:
        folder = adapter()
        artifacts.stamp(folder, base_model="base", base_hash="")
        for task, text in texts.items():
            (folder / "prompts").mkdir(exist_ok=True)
            (folder / "prompts" / f"{task}.jinja").write_text(
                f"{{% block user %}}{text}{{% endblock %}}"
            )
        name = await versions.register(registry, folder, base_hash="", rank=4)
        if load:
            await site.adapters.ensure(await site.adapters.describe(name))
        return name

    return make


def route(site: Site, **fields: Any) -> None:
    """Have these versions answer for care, from the next request on."""
    route = Route.model_validate({"lob": "care", "epoch": 9} | fields)
    site.adapters.table = Table("base", LOBS, {"care": route})
