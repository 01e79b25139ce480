from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.records import LabelledInteraction
from tests.training.records import feedback, labelled
from training.curation import Curated, Example, Message, Verdict, curate, split, verdict
from training.errors import TooLittleData
from training.settings import Curation

RULES = Curation(min_examples=2, min_conversations=3, min_holdout=2)
FILLER = [
    labelled(f"filler{n}", {"edit": f"final {n}"}, created_at=10.0 * n + 5000) for n in range(4)
]


def examples(*given: LabelledInteraction, rules: Curation = RULES) -> dict[str, Example]:
    curated = curate("care", [*given, *FILLER], rules)
    found = {e.interaction_id: e for e in (*curated.train, *curated.holdout)}
    return {name: e for name, e in found.items() if not name.startswith("filler")}


def dropped(curated: Curated) -> dict[str, int]:
    return {f.name: f.dropped for f in curated.filters if f.dropped}


def test_an_edit_is_the_target() -> None:
    example = examples(labelled("a", {"edit": "what I sent"}))["a"]
    assert (example.shown, example.target, example.source) == ("shown a", "what I sent", "edit")
    assert example.messages == (Message("user", "conversation a"),)


def test_a_highly_rated_output_is_its_own_target() -> None:
    example = examples(labelled("a", {"rating": 0.8}))["a"]
    assert (example.target, example.source) == ("shown a", "rating")


def test_an_edit_counts_whatever_the_rating_says_of_the_shown_output() -> None:
    assert examples(labelled("a", {"rating": 0.0, "edit": "better"}))["a"].target == "better"


@pytest.mark.parametrize(
    ("said", "fields", "name"),
    [
        ({"rating": 0.7}, {}, "edited or rated 0.8 or higher"),
        ({"used": True}, {}, "edited or rated 0.8 or higher"),
        ({"comment": "hm"}, {}, "edited or rated 0.8 or higher"),
        ({"rejected": True, "rating": 1.0}, {}, "not rejected"),
        ({"edit": "  "}, {}, "not empty"),
        ({"rating": 1.0}, {"output": ""}, "not empty"),
        ({"rating": 1.0}, {"status": "aborted"}, "finished or edited"),
        ({"rating": 1.0}, {"finish_reason": "length"}, "finished or edited"),
        ({"edit": "x"}, {"task": "completion"}, "task"),
        ({"edit": "x"}, {"messages": []}, "plain text"),
        ({"edit": "x"}, {"messages": [{"role": "user", "content": None}]}, "plain text"),
        (
            {"edit": "x"},
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            "plain text",
        ),
        (
            {"edit": "x"},
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "plain text",
        ),
    ],
)
def test_what_teaches_nothing_is_dropped_and_counted(
    said: dict[str, Any], fields: dict[str, Any], name: str
) -> None:
    curated = curate("care", [labelled("a", said, **fields), *FILLER], RULES)
    assert dropped(curated) == {name: 1}


def test_an_edit_of_a_cut_off_output_teaches() -> None:
    assert "a" in examples(labelled("a", {"edit": "whole"}, finish_reason="length"))


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    found = examples(labelled("a", {"edit": "x"}, messages=[{"role": "user", "content": parts}]))
    assert found["a"].messages[0].content == "one\ntwo"


def test_the_requests_constraint_and_limit_are_kept() -> None:
    request = {"response_format": {"type": "json_object"}, "max_tokens": 9}
    example = examples(labelled("a", {"edit": "{}"}, request=request))["a"]
    assert (example.response_format, example.max_tokens) == ({"type": "json_object"}, 9)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"rating": 1.0}, {"edit": "b"}], Verdict(1.0, "b", rejected=False)),
        ([{"edit": "a"}, {"edit": "b"}], Verdict(None, "b", rejected=False)),
        ([{"rating": 1.0}, {"rating": 0.0}], Verdict(0.0, None, rejected=False)),
        ([{"rejected": True}, {"used": True}], Verdict(rejected=False)),
        ([{"used": True}, {"rejected": True}], Verdict(rejected=True)),
        ([], Verdict()),
    ],
)
def test_the_latest_word_on_each_question_wins(
    said: list[dict[str, Any]], expected: Verdict
) -> None:
    records = [feedback(at=float(n), **one) for n, one in enumerate(said)]
    assert verdict(records) == expected
    assert verdict(reversed(records)) == expected


def test_exact_duplicates_are_dropped_and_the_oldest_is_kept() -> None:
    twins = [
        labelled(f"a{n}", {"edit": "same"}, prompt="same", created_at=100.0 + n) for n in range(3)
    ]
    curated = curate("care", [*twins, *FILLER], RULES)
    assert dropped(curated) == {"distinct": 2}
    assert [e.interaction_id for e in curated.train] == ["a0", "filler0", "filler1"]


def test_prompt_shown_and_target_are_redacted_alike() -> None:
    found = examples(
        labelled("a", {"edit": "Order 3348917502 ships."}, prompt="Order ID: 3348917502")
    )
    assert found["a"].messages[0].content == "Order ID: [ORDER]"
    assert found["a"].target == "Order [ORDER] ships."


def test_redaction_can_be_turned_off() -> None:
    rules = RULES.model_copy(update={"redact": False})
    assert examples(labelled("a", {"edit": "a@b.co"}), rules=rules)["a"].target == "a@b.co"


def test_the_newest_conversations_are_held_out_whole() -> None:
    items = [
        labelled(f"i{n}", {"edit": f"e{n}"}, conversation_id=f"c{n // 2}", created_at=float(n))
        for n in range(20)
    ]
    curated = curate("care", items, RULES.model_copy(update={"holdout_share": 0.3}))
    assert [e.conversation_id for e in curated.holdout] == ["c7", "c7", "c8", "c8", "c9", "c9"]


def test_an_interaction_without_conversation_is_its_own() -> None:
    assert examples(labelled("a", {"edit": "x"}, conversation_id=None))["a"].conversation_id == "a"


@pytest.mark.parametrize(
    ("count", "turns", "tail"),
    [
        (12, 3, "18 examples and 6 conversations are missing."),
        (29, 2, "1 example is missing."),
        (32, 4, "2 conversations are missing."),
    ],
)
def test_too_little_data_names_what_is_missing(count: int, turns: int, tail: str) -> None:
    items = [
        labelled(f"i{n}", {"edit": f"e{n}"}, conversation_id=f"c{n // turns}") for n in range(count)
    ]
    with pytest.raises(TooLittleData) as caught:
        curate("care", items, Curation())
    message = caught.value.message
    assert message.startswith(f"care: {count} usable examples from {-(-count // turns)} conver")
    assert f"30 from 10 are needed: {tail}" in message


@given(
    st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1e6)), min_size=1, max_size=40).filter(
        lambda rows: len({c for c, _ in rows}) >= 2
    ),
    st.floats(0.01, 0.99),
    st.integers(1, 6),
)
def test_a_split_leaks_nothing_loses_nothing_and_looks_forward(
    rows: list[tuple[int, float]], share: float, least: int
) -> None:
    given = [
        Example(
            str(n), f"c{c}", at, "summary", None, None, "edit", (Message("user", "x"),), "", "t"
        )
        for n, (c, at) in enumerate(rows)
    ]
    train, holdout = split(given, share, least)
    assert train
    assert holdout
    assert sorted((*train, *holdout), key=lambda e: int(e.interaction_id)) == given
    sides = [{e.conversation_id for e in side} for side in (train, holdout)]
    assert not sides[0] & sides[1]
    begins = [
        [min(e.created_at for e in given if e.conversation_id == c) for c in s] for s in sides
    ]
    assert max(begins[0]) <= min(begins[1])
    assert len(sides[1]) >= min(least, len(sides[0] | sides[1]) - 1)
