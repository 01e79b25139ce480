"""What an adapter's folder may hold, beside its weights too."""

import json
from pathlib import Path

import pytest

from serving.adapters import manifests
from serving.errors import AdapterRefused


def test_prompts_are_listed_with_their_hashes(adapter) -> None:
    folder = adapter()
    before = manifests.manifest(folder)
    (folder / "prompts").mkdir()
    (folder / "prompts" / "suggestion.jinja").write_text("x")
    listed = manifests.manifest(folder)
    (added,) = listed.keys() - before.keys()
    assert added == "prompts/suggestion.jinja"
    assert manifests.manifest_hash(listed) != manifests.manifest_hash(before)
    assert manifests.read(manifests.written(listed).encode(), "there") == listed


@pytest.mark.parametrize(
    "name",
    [
        *("prompts/other.jinja", "prompts/notes.txt", "prompts/sub/summary.jinja"),
        *("sub/summary.jinja", "prompts/.suggestion.jinja"),
    ],
)
def test_nothing_else_lies_in_a_folder_inside(adapter, name: str) -> None:
    folder = adapter()
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("x")
    with pytest.raises(AdapterRefused, match="nor a prompt"):
        manifests.manifest(folder)
    listed = json.dumps({name: "0" * 64}).encode()
    with pytest.raises(AdapterRefused, match="plain file names"):
        manifests.read(listed, "there")


def test_a_link_is_followed_nowhere(adapter, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "suggestion.jinja").write_text("x")
    whole, one = adapter(), adapter()
    (whole / "prompts").symlink_to(elsewhere)
    (one / "prompts").mkdir()
    (one / "prompts" / "suggestion.jinja").symlink_to(elsewhere / "suggestion.jinja")
    for folder in (whole, one):
        with pytest.raises(AdapterRefused, match="not a plain file"):
            manifests.manifest(folder)
