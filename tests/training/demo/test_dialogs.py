"""The demo's conversations and its agents' rules: seeded, varied, and true to what was said."""

import pytest

from training.demo.dialog_files import Dialog, Turn
from training.demo.dialogs import LOBS, make_dialogs
from training.demo.edits import edit_reply, edit_summary, rate, reply_turns


@pytest.mark.parametrize("lob", LOBS)
def test_a_seed_decides_the_conversations(lob: str) -> None:
    assert make_dialogs(lob, 20, seed=3) == make_dialogs(lob, 20, seed=3)
    assert make_dialogs(lob, 20, seed=3)[:5] == make_dialogs(lob, 5, seed=3)
    ours, theirs = (
        {tuple(t.text for t in d.turns) for d in make_dialogs(lob, 200, seed=s)} for s in (3, 4)
    )
    assert not ours & theirs


@pytest.mark.parametrize("lob", LOBS)
def test_conversations_vary_and_have_4_to_10_turns(lob: str) -> None:
    dialogs = make_dialogs(lob, 500, seed=1)
    assert {len(d.turns) for d in dialogs} <= set(range(4, 11))
    assert len({len(d.turns) for d in dialogs}) >= 5
    assert len({tuple(t.text for t in d.turns) for d in dialogs}) >= 495
    assert len({d.conversation_id for d in dialogs}) == 500


@pytest.mark.parametrize("lob", LOBS)
@pytest.mark.parametrize("manner", ["generic", "house"])
def test_every_fact_is_said_in_the_conversation(lob: str, manner: str) -> None:
    for dialog in make_dialogs(lob, 300, seed=2, manner=manner):  # type: ignore[arg-type]
        said = " ".join(turn.text for turn in dialog.turns)
        for key, value in dialog.facts.items():
            assert key == "bought" or value in said, (dialog, key)


@pytest.mark.parametrize("lob", LOBS)
def test_an_edited_summary_holds_the_required_facts_and_no_others(lob: str) -> None:
    required = {"care": ("follow_up", "due"), "sales": ("promotion", "saving")}[lob]
    for dialog in make_dialogs(lob, 300, seed=2):
        final = edit_summary(dialog, "The customer asked. The agent helped.")
        assert all(dialog.facts[key] in final for key in required)
        if lob == "sales":
            assert f"Bought: {dialog.facts['bought']}" in final


@pytest.mark.parametrize("lob", LOBS)
def test_a_reply_asked_for_can_be_inferred_from_what_was_said_before(lob: str) -> None:
    count = 0
    for dialog in make_dialogs(lob, 300, seed=5):
        for index in reply_turns(dialog):
            final = edit_reply(dialog, index, "")
            before = " ".join(turn.text for turn in dialog.turns[:index])
            for key, value in dialog.facts.items():
                assert key == "bought" or value not in final or value in before
            count += 1
    assert count >= 600


@pytest.mark.parametrize("lob", LOBS)
def test_a_right_text_is_kept(lob: str) -> None:
    for dialog in make_dialogs(lob, 50, seed=6):
        final = edit_summary(dialog, "")
        assert edit_summary(dialog, final) == final
        other_words = "In short: " + final
        assert edit_summary(dialog, other_words) == other_words
        for index in reply_turns(dialog):
            assert edit_reply(dialog, index, edit_reply(dialog, index, "")) == edit_reply(
                dialog, index, ""
            )


def test_a_text_with_a_name_or_number_nobody_said_is_not_kept() -> None:
    (dialog,) = make_dialogs("care", 1, seed=6)
    final = edit_summary(dialog, "")
    for wrong in (final + " We told Brunhilde.", final + " Paid 9876543."):
        assert edit_summary(dialog, wrong) == final


def test_care_and_sales_edit_differently() -> None:
    care, sales = (edit_summary(make_dialogs(lob, 1, seed=1)[0], "") for lob in LOBS)
    assert care.startswith("Case: ")
    assert "We owe" in care
    assert sales.startswith("Promotion offered: ")
    assert rate(care, sales) < 0.5


def test_the_agents_own_summary_wins() -> None:
    turns = (Turn(role="customer", text="Hello."), Turn(role="agent", text="Hello."))
    dialog = Dialog(conversation_id="a", lob="care", turns=turns, final_summary="Said hello.")
    assert edit_summary(dialog, "Anything.") == "Said hello."


def test_without_facts_the_agents_real_turn_is_the_reply() -> None:
    turns = (Turn(role="customer", text="Hello."), Turn(role="agent", text="What is it?"))
    dialog = Dialog(conversation_id="a", lob="care", turns=turns)
    assert edit_reply(dialog, 1, "Bye.") == "What is it?"
    assert edit_reply(dialog, 1, "what is it") == "what is it"
    assert edit_summary(dialog, "") == "Case: not stated. We owe: nothing."


@pytest.mark.parametrize("index", [0, 2, -1])
def test_only_an_agents_turn_has_a_reply(index: int) -> None:
    turns = (Turn(role="customer", text="Hello."), Turn(role="agent", text="Hello."))
    with pytest.raises(ValueError, match="turn_index"):
        edit_reply(Dialog(conversation_id="a", lob="care", turns=turns), index, "")


def test_rate_is_the_share_kept() -> None:
    assert rate("Same.", "Same.") == 1.0
    assert rate("abc", "xyz") == 0.0
    assert rate("", "") == 1.0


@pytest.mark.parametrize(("lob", "count"), [("other", 1), ("care", -1)])
def test_bad_arguments_are_named(lob: str, count: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_dialogs(lob, count, seed=0)
