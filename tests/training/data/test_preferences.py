import pytest

from training.data.examples import Example, Message, Source
from training.data.preferences import is_cosmetic, labels, pairs
from training.data.streaming.rows import row, without_contradictions


def one(name: str, shown: str, target: str, source: Source = "edit", prompt: str = "p") -> Example:
    said = (Message("user", prompt),)
    return Example(name, f"c-{name}", 1.0, "chat", None, None, source, said, shown, target)


def texts(rows: list[dict[str, object]], key: str) -> list[str]:
    return [row[key][0]["content"] for row in rows]  # type: ignore[index]


@pytest.mark.parametrize(
    ("shown", "edited", "cosmetic"),
    [
        ("Thank you.", "thank you", True),
        ("Hi,  there", "Hi there!", True),
        ("by 5 pm", "by 6 pm", False),
        ("10 off", "10% off", False),
        ("a refund", "the refund", False),
        ("", "text", False),
    ],
)
def test_only_a_changed_word_number_or_unit_is_more_than_cosmetic(
    shown: str, edited: str, cosmetic: bool
) -> None:
    assert is_cosmetic(shown, edited) is cosmetic


def test_the_shown_text_is_rejected_and_the_edited_one_chosen() -> None:
    (row,) = pairs([one("a", "shown", "edited")])
    assert row["prompt"] == [{"role": "user", "content": "p"}]
    assert row["chosen"] == [{"role": "assistant", "content": "edited"}]
    assert row["rejected"] == [{"role": "assistant", "content": "shown"}]


def test_cosmetic_edits_ratings_and_empty_outputs_are_no_pairs() -> None:
    given = [
        one("a", "Thanks", "thanks!"),
        one("b", "good", "good", "rating"),
        one("c", "", "text"),
    ]
    assert list(pairs(given)) == []


def test_kto_labels_of_each_kind_of_feedback() -> None:
    given = [
        one("a", "shown a", "edited a"),
        one("b", "Thanks", "thanks!"),
        one("c", "c", "c", "rating"),
        one("d", "d", "d", "used"),
        one("e", "e", "e", "rejection"),
    ]
    rows = list(labels(given))
    assert dict(zip(texts(rows, "completion"), (r["label"] for r in rows), strict=True)) == {
        "edited a": True,
        "shown a": False,
        "thanks!": True,
        "c": True,
        "d": True,
        "e": False,
    }


def test_each_pair_and_each_label_is_there_once() -> None:
    given = [one("a", "x", "y"), one("b", "x", "y")]
    assert len(list(pairs(given))) == 1
    assert len(list(labels(given))) == 2


def test_opposite_edits_and_disputed_answers_are_dropped() -> None:
    def agreed(given: list[Example]) -> list[Example]:
        return [given[r.place] for r in without_contradictions([*map(row, given, range(9))])]

    kept = one("k", "a", "b", prompt="another")
    assert agreed([one("a", "x", "y"), one("b", "y", "x"), kept]) == [kept]
    assert agreed([one("a", "x", "y"), one("b", "x", "x", "rating")]) == []
    same = [one("a", "x", "y"), one("b", "x", "z"), one("c", "x", "x", "rejection")]
    assert agreed(same) == same
