"""Prompts: found by line of business, hashed, rendered, and checked at start."""

from pathlib import Path

import pytest

from serving.config import prompts
from serving.config.prompts import Turn
from serving.errors import ConfigError

TURNS = "{% for t in turns %}{{ t.role }}: {{ t.text }}\n{% endfor %}"
GOOD = f"{{% block system %}}Do it.{{% endblock %}}{{% block user %}}{TURNS}{{% endblock %}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for task in prompts.TASKS:
        write(tmp_path, f"default/{task}", GOOD)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.jinja"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def render(prompt: prompts.Prompt, *turns: Turn) -> list[dict[str, str]]:
    return prompt.render(lob="care", task="summary", turns=turns, fields={})


def test_lobs_own_prompt_wins_over_the_default(folder: Path) -> None:
    write(folder, "care/summary", "{% block user %}care{% endblock %}")
    loaded = prompts.load(folder, ["care", "sales"])
    assert loaded["care", "summary"].name == "care/summary"
    assert loaded["sales", "summary"].name == "default/summary"
    assert render(loaded["care", "summary"]) == [{"role": "user", "content": "care"}]


def test_turns_are_rendered_in_order_and_never_executed(folder: Path) -> None:
    loaded = prompts.load(folder, ["care"])
    turns = (Turn("customer", "{{ 7 * 7 }} <b>"), Turn("agent", "ok"))
    assert render(loaded["care", "summary"], *turns) == [
        {"role": "system", "content": "Do it."},
        {"role": "user", "content": "customer: {{ 7 * 7 }} <b>\nagent: ok"},
    ]


def test_hash_changes_with_the_text_only(folder: Path) -> None:
    before = prompts.load(folder, ["care"])["care", "summary"].hash
    assert prompts.load(folder, ["care"])["care", "summary"].hash == before
    write(folder, "default/summary", GOOD.replace("Do", "Redo"))
    assert prompts.load(folder, ["care"])["care", "summary"].hash != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% block user %}{{ customer }}{% endblock %}", "'customer' is undefined"),
        ("{% block user %}", "block"),
        ("{% block system %}x{% endblock %}", "lacks"),
        ("{% block user %}{% endblock %}", "renders to nothing"),
        ("{% block user %}{{ ''.__class__.__mro__ }}{% endblock %}", "unsafe"),
    ],
)
def test_faulty_prompt_is_found_at_start(folder: Path, text: str, message: str) -> None:
    write(folder, "care/summary", text)
    with pytest.raises(ConfigError, match=message):
        prompts.load(folder, ["care"])


def test_missing_prompts_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        prompts.load(tmp_path, ["care", "sales"])
    assert refused.value.message.count("jinja") == 4


def test_a_folder_without_a_hand_over_has_the_package_s(folder: Path) -> None:
    assert prompts.load(folder, ["care"])["care", "handover"].name == "default/handover"
    write(folder, "care/handover", "{% block user %}own{% endblock %}")
    assert prompts.load(folder, ["care"])["care", "handover"].name == "care/handover"


def test_whether_a_prompt_tells_of_a_previous_summary_is_known(folder: Path) -> None:
    write(folder, "care/summary", "{% block user %}{{ previous }}x{% endblock %}")
    loaded = prompts.load(folder, ["care", "sales"])
    assert loaded["care", "summary"].goes_on
    assert not loaded["sales", "summary"].goes_on
    packaged = prompts.load(prompts.DEFAULT, ["care"])
    assert packaged["care", "summary"].goes_on
    assert packaged["care", "handover"].goes_on
    assert not packaged["care", "suggestion"].goes_on


@pytest.mark.parametrize("task", prompts.TASKS)
@pytest.mark.parametrize("fields", [{}, {"issue": "What was wrong"}])
def test_the_package_s_prompts_tell_the_model_the_line_s_own_words(
    task: prompts.Task, fields: dict[str, str]
) -> None:
    prompt = prompts.load(prompts.DEFAULT, ["care"])["care", task]
    turns = [Turn("customer", "My kettle is broken."), Turn("agent", "I am sorry.")]
    plain, own = (
        prompt.render(lob="care", task=task, turns=turns, fields=fields, **words)
        for words in ({}, {"description": "Broken kettles.", "guidelines": "- Say you are sorry."})
    )
    assert [message["role"] for message in plain] == ["system", "user"]
    assert "Customer: My kettle is broken.\nAgent: I am sorry." in plain[1]["content"]
    assert "Guidelines" not in plain[0]["content"]
    assert "Broken kettles." in own[0]["content"]
    assert own[0]["content"].count("- Say you are sorry.") == 1
    if fields and task == "summary":
        assert "- issue: What was wrong" in own[0]["content"]
