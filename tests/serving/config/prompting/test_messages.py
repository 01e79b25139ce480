"""What a prompt is told of a line is the same for the server and for the gate."""

import pytest

from serving.config import prompts
from serving.config.lobs import Lob
from serving.config.prompting import messages
from serving.config.prompts import Turn

LOB = Lob.model_validate(
    {
        "description": "Phones.",
        "guidelines": "Be brief.",
        "summary_fields": {"topic": "what it was about"},
        "insights": {"intents": {"cancel": "wants to leave"}},
    }
)
TEXT = (
    "{% block system %}{{ lob }} {{ task }} {{ description }} {{ guidelines }}{% endblock %}"
    "{% block user %}{{ previous }}{% for t in turns %}{{ t.role }}: {{ t.text }}{% endfor %}"
    "{% for f in fields %} {{ f }}{% endfor %}{% endblock %}"
)


@pytest.mark.parametrize(
    ("structured", "names"), [(False, []), (True, ["topic"]), ("both", ["summary", "topic"])]
)
def test_a_summary_is_told_the_fields_that_it_must_have(
    structured: messages.Structured, names: list[str]
) -> None:
    assert list(messages.fields(LOB, structured)) == names


def test_an_insight_is_told_the_parts_that_are_wanted() -> None:
    assert list(messages.fields(LOB, structured=False, want=("intent",))) == ["intent"]


def test_the_line_s_description_and_guidelines_are_part_of_the_messages() -> None:
    files = {"care/summary.jinja": TEXT, "care/suggestion.jinja": TEXT}
    prompt = prompts.parse(files, ["care"])["care", "summary"]
    told = messages.fields(LOB, structured=True)
    turns = [Turn("customer", "Hi")]
    made = messages.render(prompt, "care", LOB, "summary", turns, fields=told, previous="Before.")
    assert made == [
        {"role": "system", "content": "care summary Phones. Be brief."},
        {"role": "user", "content": "Before.customer: Hi topic"},
    ]
