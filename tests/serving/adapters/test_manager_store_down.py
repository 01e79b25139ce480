from pathlib import Path
from typing import Any

import pytest

from serving.adapters import manager as adapters_module
from serving.adapters.manager import AdapterManager
from serving.adapters.registry import Registry
from serving.errors import StoreUnavailable
from serving.routing import Table
from serving.store.database import Database
from tests import versions


@pytest.fixture
def registry(sqlite_db: Database, tmp_path: Path) -> Registry:
    return Registry(sqlite_db, str(tmp_path / "adapters"))


async def test_a_version_stays_known_while_the_store_is_down(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "adapter_config.json").write_text("{}")
    known, unknown = [await versions.register(registry, tmp_path / "files") for _ in range(2)]
    adapters = AdapterManager(
        None,  # type: ignore[arg-type]  # nothing is loaded here
        registry,
        Table("base", ["care"], {}),
        base_hash="b",
        base_folder=None,
        max_rank=8,
        cache_dir=tmp_path,
    )
    described = await adapters.describe(known)

    async def down(_: str) -> Any:
        raise StoreUnavailable("down")

    monkeypatch.setattr(registry, "get", down)
    monkeypatch.setattr(adapters_module, "STATE_TTL_S", 0.0)
    assert await adapters.describe(known) == described
    with pytest.raises(StoreUnavailable):
        await adapters.describe(unknown)
