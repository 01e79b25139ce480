"""A prompt becomes a candidate of the line's lineage, whatever is live."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.adapters.upstreams import Other
from serving.config.settings import Settings
from serving.errors import Conflict, InvalidRequest, NotFound
from serving.store import audit
from serving.store.database import Database
from serving.store.erasure import datasets as erased
from serving.store.records import State
from training.candidates import prompt as candidates
from training.execution.fitting import is_bare

BIG = Other("big", "big-1")
OTHER = "{% block user %}Another: {{ turns | length }}{% endblock %}"


def text_of(file: Path) -> str:
    return file.read_text()


async def promoted(registry: Registry, name: str) -> None:
    await registry.switch("care", live=name, action="promote")


async def test_on_the_base_it_is_an_adapter_that_changes_nothing(
    store: Database, settings: Settings, better: Path
) -> None:
    added = await candidates.add(store, settings, "care", {"suggestion": better})
    version = added.version
    assert (version.name, version.state, version.parent) == ("care@1", State.CANDIDATE, None)
    assert version.recipe == {"start": "fresh", "prompt": {"changed": ["suggestion"]}}
    assert (version.rank, version.dataset_id) == (1, None)
    assert version.prompts is not None
    assert version.prompts.keys() == {"suggestion"}
    assert is_bare(version)
    files = artifacts.manifest(Path(version.uri))
    assert "prompts/suggestion.jinja" in files
    assert text_of(Path(version.uri) / "prompts/suggestion.jinja") == text_of(better)
    weights = load_file(Path(version.uri) / "adapter_model.safetensors")
    assert not any(tensor.any() for tensor in weights.values())


async def test_the_audit_says_who_made_it_and_of_what(
    store: Database, settings: Settings, better: Path
) -> None:
    await candidates.add(store, settings, "care", {"suggestion": better})
    (entry,) = await audit.about(store, "care@1", candidates.ADDED)
    assert entry.detail["changed"] == ["suggestion"]
    assert entry.detail["parent"] is None
    assert entry.detail["by"]
    (registered,) = await audit.about(store, "care@1", "register")
    assert registered.detail["dataset_id"] is None


async def test_on_a_live_version_it_keeps_its_weights_and_its_other_prompts(
    store: Database, settings: Settings, better: Path, tmp_path: Path
) -> None:
    registry = Registry(store, settings.adapters.uri)
    first = (await candidates.add(store, settings, "care", {"suggestion": better})).version
    await promoted(registry, first.name)
    summary = tmp_path / "summary.jinja"
    summary.write_text(OTHER)
    second = (await candidates.add(store, settings, "care", {"summary": summary})).version
    assert (second.name, second.parent) == ("care@2", "care@1")
    assert first.prompts is not None
    assert second.prompts is not None
    assert second.prompts["suggestion"]["hash"] == first.prompts["suggestion"]["hash"]
    mine, its = (artifacts.manifest(Path(v.uri)) for v in (second, first))
    assert mine["adapter_model.safetensors"] == its["adapter_model.safetensors"]
    assert "prompts/summary.jinja" in mine


async def test_what_differs_in_nothing_from_live_is_refused(
    store: Database, settings: Settings, better: Path, tmp_path: Path
) -> None:
    same = settings.prompts / "default" / "suggestion.jinja"
    with pytest.raises(Conflict, match=r"Nothing differs from what is live \(the base"):
        await candidates.add(store, settings, "care", {"suggestion": same})
    registry = Registry(store, settings.adapters.uri)
    await candidates.add(store, settings, "care", {"suggestion": better})
    await promoted(registry, "care@1")
    with pytest.raises(Conflict, match=r"Nothing differs from what is live \(care@1\)"):
        await candidates.add(store, settings, "care", {"suggestion": better})
    assert [v.name for v in await registry.list("care")] == ["care@1"]


async def test_the_same_prompt_again_is_the_same_candidate_until_it_is_rejected(
    store: Database, settings: Settings, better: Path
) -> None:
    first = await candidates.add(store, settings, "care", {"suggestion": better})
    again = await candidates.add(store, settings, "care", {"suggestion": better})
    assert (again.version, again.is_new) == (first.version, False)
    registry = Registry(store, settings.adapters.uri)
    await registry.reject("care@1", {"accepted": False})
    third = await candidates.add(store, settings, "care", {"suggestion": better})
    assert (third.version.name, third.is_new) == ("care@2", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% block user %}\n{% if %}{% endblock %}", r"bad\.jinja, line 2: "),
        ("{% block user %}{{ nobody }}{% endblock %}", r"bad\.jinja: 'nobody' is undefined"),
        ("{% block system %}Hi{% endblock %}", r"bad\.jinja: it lacks \{% block user %\}"),
        ("{% include 'a' %}{% block user %}a{% endblock %}", r"bad\.jinja: it names another file"),
    ],
)
async def test_a_file_that_is_no_prompt_is_named_with_the_line_or_the_variable(
    store: Database, settings: Settings, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "bad.jinja"
    file.write_text(text)
    with pytest.raises(InvalidRequest, match=said):
        await candidates.add(store, settings, "care", {"suggestion": file})
    assert await Registry(store, settings.adapters.uri).list() == []


async def test_a_missing_file_and_an_unknown_line_are_named(
    store: Database, settings: Settings, better: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.jinja"):
        await candidates.add(store, settings, "care", {"suggestion": tmp_path / "none.jinja"})
    with pytest.raises(NotFound, match="tax"):
        await candidates.add(store, settings, "tax", {"suggestion": better})


@pytest.mark.parametrize(("parent", "rows"), [("trained", 3), ("bare", 0)])
async def test_it_is_tainted_by_the_weights_that_it_has_and_by_nothing_else(
    store: Database, settings: Settings, better: Path, parent: str, rows: int
) -> None:
    added = await candidates.add(store, settings, "care", {"suggestion": better})
    recipe = {"start": "fresh"} if parent == "trained" else added.version.recipe
    of = added.version.model_copy(update={"recipe": recipe, "dataset_id": "d"})
    stubs = {"d": {"rows": 3, "successor": "e"}}
    versions = [
        ("care@1", "d" if parent == "trained" else None, None, recipe),
        ("care@2", None, "care@1", candidates.recipe_of(of, ("summary",))),
    ]
    assert erased.taints(stubs, versions).get("care@2", 0) == rows


@pytest.fixture
def with_upstreams(settings: Settings) -> Settings:
    """The configuration, with two upstreams."""
    each = {name: {"url": f"http://{name}/v1", "model": f"{name}-1"} for name in ("big", "small")}
    return Settings.model_validate(settings.model_dump(mode="json") | {"upstreams": each})


async def test_another_model_is_a_candidate_without_weights(
    store: Database, with_upstreams: Settings
) -> None:
    added = await candidates.add(store, with_upstreams, "care", {}, "big")
    version = added.version
    assert (version.name, version.state, version.parent) == ("care@1", State.CANDIDATE, None)
    assert version.upstream == {"name": "big", "model": "big-1"}
    assert version.recipe == {"start": "fresh", "model": version.upstream}
    assert (version.rank, version.prompts, added.changed) == (0, None, ())
    assert set(artifacts.manifest(Path(version.uri))) == {"upstream.json"}
    assert is_bare(version)
    (entry,) = await audit.about(store, "care@1", candidates.ADDED_MODEL)
    assert entry.detail["model"] == version.upstream


async def test_another_model_keeps_the_prompts_of_live_and_none_of_its_weights(
    store: Database, with_upstreams: Settings, better: Path, tmp_path: Path
) -> None:
    registry = Registry(store, with_upstreams.adapters.uri)
    first = (await candidates.add(store, with_upstreams, "care", {"suggestion": better})).version
    await promoted(registry, first.name)
    summary = tmp_path / "summary.jinja"
    summary.write_text(OTHER)
    added = await candidates.add(store, with_upstreams, "care", {"summary": summary}, "big")
    version = added.version
    assert (version.parent, added.changed, added.model) == ("care@1", ("summary",), BIG)
    names = {"upstream.json", "prompts/suggestion.jinja", "prompts/summary.jinja"}
    assert set(artifacts.manifest(Path(version.uri))) == names
    assert version.recipe["prompt"] == {"changed": ["summary"]}
    assert version.recipe["start"] == "fresh"


async def test_a_prompt_on_another_model_stays_on_it_and_has_no_weights_to_go_on_from(
    store: Database, with_upstreams: Settings, better: Path
) -> None:
    registry = Registry(store, with_upstreams.adapters.uri)
    first = (await candidates.add(store, with_upstreams, "care", {}, "big")).version
    await promoted(registry, first.name)
    added = await candidates.add(store, with_upstreams, "care", {"suggestion": better})
    version = added.version
    assert (version.upstream, added.model) == (BIG.described, None)
    assert version.recipe == {"start": "fresh", "prompt": {"changed": ["suggestion"]}}
    assert is_bare(version)


async def test_the_model_that_is_live_is_refused_and_the_same_again_is_the_same_candidate(
    store: Database, with_upstreams: Settings
) -> None:
    first = await candidates.add(store, with_upstreams, "care", {}, "big")
    again = await candidates.add(store, with_upstreams, "care", {}, "big")
    small = await candidates.add(store, with_upstreams, "care", {}, "small")
    assert (again.version, again.is_new) == (first.version, False)
    assert (small.version.name, small.is_new) == ("care@2", True)
    await promoted(Registry(store, with_upstreams.adapters.uri), "care@1")
    with pytest.raises(Conflict, match=r"what is live \(care@1\): upstreams\.big \(big-1\)"):
        await candidates.add(store, with_upstreams, "care", {}, "big")


async def test_an_upstream_that_is_not_configured_is_named(
    store: Database, with_upstreams: Settings
) -> None:
    with pytest.raises(InvalidRequest, match=r"`upstreams\.huge` is not .* are: big, small"):
        await candidates.add(store, with_upstreams, "care", {}, "huge")
    assert await Registry(store, with_upstreams.adapters.uri).list() == []
