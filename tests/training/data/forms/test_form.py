"""A version's form: what it is asked, word for word, in place of an example's messages."""

import json
from typing import Any

import pytest

from serving.adapters import prompts
from serving.config.lobs import Lob
from serving.store.records import InteractionRecord
from tests.training.records import labelled, suggested
from training.data.examples import Example, Verdict, example, redacted
from training.data.forms import form as forms
from training.data.forms.form import Form
from training.errors import DatasetError

OLD = "{% block user %}{% for t in turns %}{{ t.text }}{% endfor %}{% endblock %}"
NEW = (
    "{% block system %}{{ lob }}: {{ description }}{% endblock %}"
    "{% block user %}{% for t in turns %}{{ t.role }}> {{ t.text }}{% endfor %}"
    "{% for name in fields %} {{ name }}{% endfor %}{% endblock %}"
)
LINE = Lob.model_validate({"description": "Phones.", "summary_fields": {"topic": "about"}})
STORED = prompts.parse({"suggestion": OLD}, "care@1")["suggestion"]
TEXTS: Any = {"suggestion": NEW, "summary": NEW}


def form(texts: Any = TEXTS) -> Form:
    return Form("care@9", "care", LINE, prompts.parse(texts, "care@9"), texts)


def made(row: InteractionRecord) -> Example:
    return example(row, Verdict(used=True), "used")


def said(one: Example) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in one.messages]


def test_another_prompt_s_messages_are_rendered_anew_from_the_turns() -> None:
    one = made(suggested("i1", prompt=STORED).interaction)
    anew = form().rendered(one)
    assert said(one) == [("user", "conversation i1")]
    assert said(anew) == [("system", "care: Phones."), ("user", "customer> conversation i1")]
    assert (anew.shown, anew.target) == (one.shown, one.target)
    assert form().rendered(anew) is anew, "it has this form now"


def test_the_same_prompt_s_messages_stay_as_they_were_stored() -> None:
    one = made(suggested("i1", prompt=form().prompts["suggestion"]).interaction)
    assert form().rendered(one) is one


def test_what_it_has_no_prompt_for_and_what_has_no_turns_stays() -> None:
    older = made(suggested("i1", prompt=STORED, turns=False).interaction)
    assert form().rendered(older) is older
    assert not form().can_ask(older)
    one = made(suggested("i1", prompt=STORED).interaction)
    other = form({"summary": NEW})
    assert other.rendered(one) is one
    assert other.can_ask(one)


def test_a_structured_summary_is_told_the_line_s_fields() -> None:
    request = {"conversation": [{"role": "customer", "text": "Hi"}], "structured": "both"}
    row = suggested("i1", prompt=STORED, task="summary", request=request).interaction
    assert said(form().rendered(made(row)))[1] == ("user", "customer> Hi summary topic")


def test_a_summary_that_goes_on_is_not_asked_by_a_prompt_that_cannot() -> None:
    before = {"turns": 2, "summary": "Before."}
    request = {"conversation": [{"role": "customer", "text": "Hi"}], "previous": before}
    one = made(suggested("i1", prompt=STORED, task="summary", request=request).interaction)
    assert not form().can_ask(one)
    assert form().rendered(one) is one
    goes_on = form({"summary": NEW.replace("{% for t", "{{ previous }}{% for t")})
    assert said(goes_on.rendered(one))[1] == ("user", "Before.customer> Hi")


def test_a_draft_stays_at_the_end() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "Dear"}]
    request = {
        "conversation": [{"role": "customer", "text": "a"}],
        "continue_final_message": True,
    }
    row = suggested("i1", prompt=STORED, request=request, messages=messages).interaction
    assert said(form().rendered(made(row)))[-1] == ("assistant", "Dear")


def test_a_surrogate_in_the_turns_is_the_target_s() -> None:
    row = suggested(
        "i1", prompt=STORED, text="My mail is ann.lee@corp.example", output="ann.lee@corp.example?"
    ).interaction
    (one,), _ = redacted([made(row)])
    assert "ann.lee" not in one.target
    assert one.target.removesuffix("?") in said(form().rendered(one))[1][1]


def test_only_rows_of_another_prompt_without_turns_are_kept_as_stored() -> None:
    mine = form()
    assert mine.keeps(suggested("i1", prompt=STORED, turns=False).interaction)
    assert not mine.keeps(suggested("i1", prompt=STORED).interaction)
    own = mine.prompts["suggestion"]
    assert not mine.keeps(suggested("i1", prompt=own, turns=False).interaction)
    assert not mine.keeps(labelled("i1", task="chat").interaction)


def test_another_process_renders_the_same() -> None:
    one = made(suggested("i1", prompt=STORED).interaction)
    again = forms.parsed(form().written())
    assert again.rendered(one) == form().rendered(one)
    assert json.loads(form().written()) == form().as_json()


def test_a_manifest_s_prompt_that_cannot_be_parsed_is_named() -> None:
    broken = {**form().as_json(), "texts": {"summary": "{% block user %}"}}
    with pytest.raises(DatasetError, match=r"care@9's prompts cannot be used: .*summary"):
        Form.of(broken)
