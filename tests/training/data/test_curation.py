from typing import Any

import pytest

from serving.store.records import LabelledInteraction
from tests.training.records import drawn, feedback, labelled
from training.data.curation import Curated, curate
from training.data.examples import Example, Message, Verdict, verdict
from training.data.splits import is_drawn
from training.errors import TooLittleData
from training.recipe.curation import CurationConfig

RULES = CurationConfig(min_examples=2, min_conversations=3, min_holdout=2, golden_share=0)
TARGETS_ONLY = "edited, used or rated 0.8 or higher; others are for KTO"
LEARNED, JUDGED = drawn(False, 0), drawn(True, 0)
FILLER = [
    labelled(
        f"filler{n}",
        {"edit": f"final {n}"},
        created_at=10.0 * n + 5000,
        conversation_id=drawn(n >= 2, 900 + n),
    )
    for n in range(4)
]
"""Two to learn from, and two that judge."""
ELSEWHERE = [{"step": "care@9", "outcome": "answered", "via": "upstream:big"}]
INJECTED = [{"guard": "input.injection", "action": "flag", "kind": "injection", "score": 0.9}]


def item(name: str, *said: dict[str, Any], judges: bool = False, **fields: Any) -> Any:
    """Return a labelled interaction in a conversation of its own."""
    number = sum(name.encode()) + 7 * len(name)
    return labelled(name, *said, **({"conversation_id": drawn(judges, number)} | fields))


def examples(*given: LabelledInteraction, rules: CurationConfig = RULES) -> dict[str, Example]:
    curated = curate("care", [*given, *FILLER], rules)
    found = {e.interaction_id: e for e in (*curated.train, *curated.holdout)}
    return {name: e for name, e in found.items() if not name.startswith("filler")}


def dropped(curated: Curated) -> dict[str, int]:
    return {f.name: f.dropped for f in curated.filters if f.dropped}


def test_an_edit_is_the_target() -> None:
    example = examples(item("a", {"edit": "what I sent"}))["a"]
    assert (example.shown, example.target, example.source) == ("shown a", "what I sent", "edit")
    assert example.messages == (Message("user", "conversation a"),)


def test_a_corrected_insight_teaches_neither_suggestions_nor_summaries() -> None:
    assert examples(item("a", {"edit": '{"intent": "x"}'}, task="insight")) == {}


def test_a_highly_rated_output_is_its_own_target() -> None:
    example = examples(item("a", {"rating": 0.8}))["a"]
    assert (example.target, example.source) == ("shown a", "rating")


def test_an_edit_counts_whatever_the_rating_says_of_the_shown_output() -> None:
    assert examples(item("a", {"rating": 0.0, "edit": "better"}))["a"].target == "better"


@pytest.mark.parametrize(
    ("said", "fields", "name"),
    [
        ({"rating": 0.7}, {}, "judged good or bad"),
        ({"comment": "hm"}, {}, "judged good or bad"),
        ({"rating": 1.0}, {"steps": ELSEWHERE}, "judged good or bad"),
        ({"rejected": True}, {"steps": ELSEWHERE}, "judged good or bad"),
        ({"edit": "x"}, {"guards": INJECTED}, "no suspected injection"),
        ({"edit": "x"}, {"conversation_id": None}, "in a conversation"),
        ({"edit": "x"}, {"conversation_id": ""}, "in a conversation"),
        ({"rejected": True}, {}, TARGETS_ONLY),
        ({"rating": 0.2}, {}, TARGETS_ONLY),
        ({"rejected": True, "rating": 1.0}, {}, "not judged both"),
        ({"rejected": True, "used": True}, {}, "not judged both"),
        ({"edit": "  "}, {}, "not empty"),
        ({"rating": 1.0}, {"output": ""}, "not empty"),
        ({"rating": 1.0}, {"status": "aborted"}, "finished or edited"),
        ({"rating": 1.0}, {"finish_reason": "length"}, "finished or edited"),
        ({"used": True}, {"request": {"continue_final_message": True}}, "finished or edited"),
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
    curated = curate("care", [item("a", said, **fields), *FILLER], RULES)
    assert dropped(curated) == {name: 1, "not drawn to judge": 2}


@pytest.mark.parametrize("said", [{"edit": "x"}, {"used": True}])
def test_what_an_agent_wrote_or_sent_of_another_model_s_text_teaches(said: dict[str, Any]) -> None:
    assert "a" in examples(item("a", said, steps=ELSEWHERE))


def test_what_the_engine_answered_behind_another_model_that_failed_teaches() -> None:
    failed = [ELSEWHERE[0] | {"outcome": "failed"}, {"step": "care@1", "outcome": "answered"}]
    assert "a" in examples(item("a", {"rating": 1.0}, steps=failed))


def test_what_other_guards_flagged_teaches() -> None:
    found = [{"guard": "output.content", "action": "flag", "kind": "blame", "score": 1.0}]
    assert "a" in examples(item("a", {"edit": "x"}, guards=found))


def test_an_edit_of_a_cut_off_output_teaches() -> None:
    assert "a" in examples(item("a", {"edit": "whole"}, finish_reason="length"))


def test_text_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    found = examples(item("a", {"edit": "x"}, messages=[{"role": "user", "content": parts}]))
    assert found["a"].messages[0].content == "one\ntwo"


def test_the_requests_constraint_and_limit_are_kept() -> None:
    request = {"response_format": {"type": "json_object"}, "max_tokens": 9}
    example = examples(item("a", {"edit": "{}"}, request=request))["a"]
    assert (example.response_format, example.max_tokens) == ({"type": "json_object"}, 9)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"rating": 1.0}, {"edit": "b"}], Verdict(1.0, "b", rejected=False)),
        ([{"edit": "a"}, {"edit": "b"}], Verdict(None, "b", rejected=False)),
        ([{"rating": 1.0}, {"rating": 0.0}], Verdict(0.0, None, rejected=False)),
        ([{"rejected": True}, {"used": True}], Verdict(used=True)),
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
    twins = [item(f"a{n}", {"edit": "same"}, prompt="same", created_at=100.0 + n) for n in range(3)]
    curated = curate("care", [*twins, *FILLER], RULES)
    assert dropped(curated) == {"distinct": 2, "not drawn to judge": 2}
    assert [e.interaction_id for e in curated.train] == ["a0", "filler0", "filler1"]


def test_prompt_shown_and_target_are_redacted_alike() -> None:
    found = examples(item("a", {"edit": "Order 3348917502 ships."}, prompt="Order ID: 3348917502"))
    order = found["a"].messages[0].content.removeprefix("Order ID: ")
    assert (len(order), order.isdigit()) == (10, True)
    assert order != "3348917502"
    assert found["a"].target == f"Order {order} ships."


def test_redaction_can_be_turned_off() -> None:
    rules = RULES.model_copy(update={"redact": False})
    assert examples(item("a", {"edit": "a@b.co"}), rules=rules)["a"].target == "a@b.co"


def test_conversations_are_held_out_whole_whenever_they_began() -> None:
    items = [
        labelled(f"i{n}", {"edit": f"e{n}"}, conversation_id=f"c{n // 2}", created_at=float(n))
        for n in range(80)
    ]
    curated = curate("care", items, RULES)
    judge, learned = (
        {e.conversation_id for e in part} for part in (curated.rolling, curated.train)
    )
    assert judge == {c for n in range(40) if is_drawn("care", c := f"c{n}", 0.0, RULES)}
    assert judge | learned == {f"c{n}" for n in range(40)}
    assert len(curated.rolling) == 2 * len(judge)
    assert "c38" in learned or "c39" in learned


def test_an_output_that_was_used_is_a_target_and_judges() -> None:
    given = [item("a", {"used": True}), item("b", {"used": True}, judges=True)]
    curated = curate("care", [*given, *FILLER], RULES)
    assert ("shown a", "used") in {(e.target, e.source) for e in curated.train}
    assert ("shown b", "used") in {(e.target, e.source) for e in curated.rolling}


def test_what_judges_stays_as_it_came_and_is_counted() -> None:
    same = {"prompt": "same", "output": "same"}
    twins = [
        item(f"t{n}", {"used": True}, judges=True, conversation_id=drawn(True, n), **same)
        for n in range(5)
    ]
    curated = curate("care", [*twins, *FILLER], RULES)
    assert len(curated.rolling) == 7
    assert curated.judged == 7
    capped = curate("care", [*twins, *FILLER], RULES.model_copy(update={"max_holdout": 4}))
    assert (len(capped.rolling), capped.judged) == (4, 7)


def test_one_agent_decides_only_a_part_of_what_is_good() -> None:
    flood = [
        item(
            f"f{n}",
            {"edit": f"poison {n}"},
            request={"user": "mallory"},
            conversation_id=drawn(True, n),
        )
        for n in range(60)
    ]
    others = [
        item(
            f"o{n}",
            {"used": True},
            request={"user": f"u{n % 4}"},
            conversation_id=drawn(True, 100 + n),
        )
        for n in range(40)
    ]
    curated = curate("care", [*flood, *others, *FILLER], RULES)
    poison = sum(e.target.startswith("poison") for e in curated.rolling)
    assert (poison, len(curated.rolling)) == (10, 52)  # as many as the median agent's
    assert curated.judged == 102


def test_too_few_that_judge_are_said() -> None:
    with pytest.raises(TooLittleData) as caught:
        curate("care", [*FILLER[:3], item("a", {"edit": "x"})], RULES)
    assert "1 conversations with known final texts were drawn to judge" in caught.value.message
    assert "20% of the new ones are drawn (holdout_share)" in caught.value.message


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
        item(f"i{n}", {"edit": f"e{n}"}, conversation_id=f"c{n // turns}") for n in range(count)
    ]
    with pytest.raises(TooLittleData) as caught:
        curate("care", items, CurationConfig())
    message = caught.value.message
    assert message.startswith(f"care: {count} usable examples from {-(-count // turns)} conver")
    assert f"30 from 10 are needed: {tail}" in message


def test_what_is_no_target_still_says_good_or_bad() -> None:
    given = [
        item("bad", {"rating": 0.0}),
        item("no", {"rejected": True}),
    ]
    curated = curate("care", [*given, *FILLER], RULES)
    assert {e.interaction_id: e.source for e in curated.labels} == {
        "bad": "rejection",
        "no": "rejection",
    }


def test_labels_of_conversations_that_judge_are_not_learned_from() -> None:
    label = item("label", {"rejected": True}, judges=True)
    assert curate("care", [label, *FILLER], RULES).labels == ()


def test_contradictory_labels_of_the_same_answer_are_both_dropped() -> None:
    same = {"prompt": "same", "output": "same"}
    given = [item("a", {"rating": 1.0}, **same), item("b", {"rejected": True}, **same)]
    curated = curate("care", [*given, *FILLER], RULES)
    assert dropped(curated) == {"not contradicted": 2, "not drawn to judge": 2}


def test_near_duplicates_are_dropped_and_the_oldest_is_kept() -> None:
    words = " ".join(f"word{n}" for n in range(60))
    given = [
        item("a", {"edit": words}, prompt=words, created_at=1.0),
        item("b", {"edit": words}, prompt=words + " end", created_at=2.0),
        item("c", {"edit": "another answer"}, prompt=words + " end", created_at=3.0),
    ]
    curated = curate("care", [*given, *FILLER], RULES)
    assert dropped(curated) == {"no near-duplicate": 1, "not drawn to judge": 2}
    assert [e.interaction_id for e in curated.train[:2]] == ["a", "c"]


def test_the_filters_and_their_order() -> None:
    """The order that docs/training.md gives."""
    names = [f.name for f in curate("care", FILLER, RULES).filters]
    assert names == [
        "no suspected injection",
        "in a conversation",
        "task",
        "finished or edited",
        "plain text",
        "judged good or bad",
        "not judged both",
        "not empty",
        "a share of each key",
        "not in the frozen golden set",
        "not drawn to judge",
        "not contradicted",
        "distinct",
        "no near-duplicate",
        TARGETS_ONLY,
        "a share of greetings and closings",
        "a share of each agent",
        "recent, or a share of older ones",
    ]


def test_only_what_is_learned_from_is_balanced() -> None:
    hello = [
        item(
            f"h{n}",
            {"edit": f"Hello, {name}! How can I help you?"},
            task="suggestion",
            created_at=float(n),
            conversation_id=drawn(n >= 4, n),
        )
        for n, name in enumerate(("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal"))
    ]
    rules = RULES.model_copy(update={"greeting_share": 0.5})
    curated = curate("care", hello, rules)
    assert (len(curated.train), len(curated.rolling)) == (2, 4)
    assert dropped(curated) == {"a share of greetings and closings": 2, "not drawn to judge": 4}


def test_the_agent_is_the_requests_user_or_the_key_and_only_its_hash_is_kept() -> None:
    found = examples(
        item("a", {"edit": "x", "key_id": "key_1"}),
        item("b", {"edit": "y", "key_id": "key_1"}, request={"user": "dana@example.com"}),
        item("c", {"edit": "z", "key_id": "key_1"}),
        item("d", {"edit": "v"}),
    )
    assert found["a"].agent == found["c"].agent != found["b"].agent
    assert found["d"].agent is None
    assert "dana" not in str(found["b"])


def test_a_key_names_its_own_agents_and_never_another_s() -> None:
    mine = {"request": {"user": "dana"}, "key_id": "key_1"}
    found = examples(
        item("a", {"edit": "x", "key_id": "key_1"}, **mine),
        item("b", {"edit": "y", "key_id": "key_1"}, **mine),
        item("c", {"edit": "z", "key_id": "key_2"}, **(mine | {"key_id": "key_2"})),
    )
    assert found["a"].agent == found["b"].agent != found["c"].agent


def test_one_key_gives_at_most_its_share_whatever_agents_it_names() -> None:
    flood = [
        item(f"f{n}", {"edit": f"poison {n}", "key_id": "k1"}, request={"user": f"u{n}"})
        for n in range(40)
    ]
    others = [
        item(f"o{k}{n}", {"edit": f"good {k} {n}", "key_id": f"k{k}"})
        for k in (2, 3)
        for n in range(5)
    ]
    curated = curate("care", [*flood, *others, *FILLER[2:]], RULES)
    assert dropped(curated)["a share of each key"] == 28
    free = curate(
        "care", [*flood, *others, *FILLER[2:]], RULES.model_copy(update={"key_share": 1.0})
    )
    assert "a share of each key" not in dropped(free)


def test_each_candidate_is_judged_by_its_own_text() -> None:
    choices = [
        {"index": i, "message": {"content": f"text {i}"}, "finish_reason": "stop"} for i in range(3)
    ]
    said = {"rejected": True}, {"index": 1, "edit": "mine"}, {"index": 2, "rating": 1.0}
    given = item("a", *said, response={"choices": choices}, output="text 0")
    curated = curate("care", [given, *FILLER], RULES)
    chosen = {e.interaction_id: e for e in (*curated.train, *curated.holdout, *curated.labels)}
    mine = {name: (e.shown, e.target, e.source) for name, e in chosen.items() if name[0] == "a"}
    assert mine == {
        "a": ("text 0", "text 0", "rejection"),
        "a#1": ("text 1", "mine", "edit"),
        "a#2": ("text 2", "text 2", "rating"),
    }
    conversations = {e.conversation_id for name, e in chosen.items() if name[0] == "a"}
    assert conversations == {given.interaction.conversation_id}


def test_a_candidate_that_the_response_has_not_teaches_nothing() -> None:
    assert examples(item("a", {"index": 1, "edit": "mine"})) == {}
