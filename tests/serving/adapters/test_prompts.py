"""Prompts of a version's own, read from its folder."""

import hashlib
from pathlib import Path

import pytest

from serving.adapters import prompts
from serving.config.prompts import Turn
from serving.errors import AdapterRefused

GOOD = "{% block user %}OWN {{ lob }}: {{ turns[0].text }}{% endblock %}"


def write(folder: Path, text: str | bytes, name: str = "suggestion.jinja") -> Path:
    (folder / "prompts").mkdir(exist_ok=True)
    path = folder / "prompts" / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_a_folder_without_prompts_has_none(tmp_path: Path) -> None:
    assert prompts.of_folder(tmp_path, "care@9") == {}
    assert prompts.described({}) is None


def test_a_version_s_prompt_is_called_by_its_name_and_hashed_as_a_configured_one(
    tmp_path: Path,
) -> None:
    own = prompts.of_folder(write(tmp_path, GOOD), "care@9")
    assert own.keys() == {"suggestion"}
    sha256 = hashlib.sha256(GOOD.encode()).hexdigest()
    described = {"suggestion": {"name": "care@9/suggestion", "hash": sha256[:16]}}
    assert prompts.described(own) == described
    said = own["suggestion"].render(
        lob="care", task="suggestion", turns=[Turn("customer", "Hi.")], fields={}
    )
    assert said == [{"role": "user", "content": "OWN care: Hi."}]


def test_whether_it_goes_on_from_a_summary_is_known(tmp_path: Path) -> None:
    goes_on = "{% block user %}{{ previous }}x{% endblock %}"
    own = prompts.of_folder(write(tmp_path, goes_on, "summary.jinja"), "care@9")
    assert own["summary"].goes_on


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% block user %}{{ customer }}{% endblock %}", "'customer' is undefined"),
        ("{% block user %}", "block"),
        ("{% block system %}x{% endblock %}", "lacks"),
        ("{% block user %}{{ ''.__class__.__mro__ }}{% endblock %}", "unsafe"),
        ("{% block user %}{{ '{9}'.format(1) }}{% endblock %}", "suggestion.jinja"),
        ('{% extends "default/suggestion.jinja" %}', "stands alone"),
        ("{% if 0 %}{% include lob %}{% endif %}{% block user %}x{% endblock %}", "alone"),
        (b"{% block user %}\xff{% endblock %}", "no UTF-8"),
        (b"x" * (prompts.LIMIT_BYTES + 1), "no prompt"),
    ],
)
def test_one_that_cannot_be_used_is_refused_by_its_file_s_name(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(AdapterRefused, match=reason) as refused:
        prompts.of_folder(write(tmp_path, text), "care@9")
    assert "suggestion.jinja" in refused.value.message


def test_a_task_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match=r"prompts/sugestion\.jinja is no task's prompt"):
        prompts.of_folder(write(tmp_path, GOOD, "sugestion.jinja"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(GOOD)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "summary.jinja").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterRefused, match="no plain file"):
        prompts.of_folder(tmp_path)
