"""A version is asked by its own prompts, and hands them on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.adapters.registry import Registry
from serving.config import prompts
from serving.config.settings import Settings
from serving.errors import AdapterRefused
from serving.store.database import Database
from training.candidates import prompt as candidates
from training.execution import asked_by

BETTER = "{% block user %}{{ turns | length }}{% endblock %}"


@pytest.fixture
async def with_prompt(settings: Settings, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry in which care@1 is live, with a prompt of its own for suggestions."""
    file = tmp_path / "better.jinja"
    file.write_text(BETTER)
    db = Database(settings.store.url)
    await db.open()
    registry = Registry(db, settings.adapters.uri)
    await candidates.add(db, settings, "care", {"suggestion": file})
    await registry.switch("care", live="care@1", action="promote")
    yield registry
    await db.close()


async def test_its_own_prompt_is_read_from_its_verified_folder(
    with_prompt: Registry, settings: Settings
) -> None:
    version = await asked_by.live(with_prompt, "care")
    form = await asked_by.own(version, settings)
    assert form is not None
    assert form.texts == {"suggestion": BETTER}
    assert form.prompts.keys() == {"suggestion"}
    assert version is not None
    (Path(version.uri) / "prompts" / "suggestion.jinja").write_text("changed")
    with pytest.raises(AdapterRefused, match="was changed"):
        await asked_by.own(version, settings)


async def test_for_what_it_has_none_the_configured_prompt_asks(
    with_prompt: Registry, settings: Settings
) -> None:
    configured = prompts.load(settings.prompts, ["care"])
    whole = await asked_by.whole(await asked_by.live(with_prompt, "care"), "care", settings)
    assert whole.version == "care@1"
    assert whole.prompts["summary"].hash == configured["care", "summary"].hash
    assert whole.prompts["suggestion"].hash != configured["care", "suggestion"].hash


async def test_the_base_has_no_prompt_of_its_own(settings: Settings, sqlite_db: Database) -> None:
    registry = Registry(sqlite_db, settings.adapters.uri)
    assert await asked_by.live(registry, "care") is None
    assert await asked_by.own(None, settings) is None
    assert (await asked_by.whole(None, "care", settings)).version == settings.served_name


def test_an_adapter_is_published_with_its_parent_s_prompts_and_none_left_over(
    tmp_path: Path,
) -> None:
    adapter, parent = tmp_path / "adapter", tmp_path / "parent"
    for folder, text in ((adapter, "old"), (parent, "its")):
        (folder / "prompts").mkdir(parents=True)
        (folder / "weights").write_text(text)
        (folder / "prompts" / f"{text}.jinja").write_text(text)
    with asked_by.inheriting(adapter, parent) as both:
        assert (both / "weights").read_text() == "old"
        assert [path.name for path in (both / "prompts").iterdir()] == ["its.jinja"]
    assert (adapter / "prompts" / "old.jinja").exists()
    with asked_by.inheriting(adapter, None) as same:
        assert same == adapter
