import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import verdicts
from training.evaluation.verdicts import WORDS, Verdict, Winner, Word
from training.stats.proportions import wilson

ANSWERS = st.sampled_from([*WORDS, None])
WINNERS = st.sampled_from(["left", "right", "tie", None])
MIRROR: dict[Winner | None, Winner | None] = {
    "left": "right",
    "right": "left",
    "tie": "tie",
    None: None,
}


@pytest.mark.parametrize(
    ("forward", "backward", "verdict"),
    [
        ("A", "B", Verdict("left")),
        ("B", "A", Verdict("right")),
        ("A", "A", Verdict("tie", favoured="A")),  # flips with the order
        ("B", "B", Verdict("tie", favoured="B")),
        ("tie", "tie", Verdict("tie")),
        ("A", "tie", Verdict("tie")),  # won in one order only
        ("tie", "A", Verdict("tie")),
        (None, "A", Verdict(None)),
        ("tie", None, Verdict(None)),
    ],
)
def test_only_a_text_that_wins_in_both_orders_has_won(
    forward: Word | None, backward: Word | None, verdict: Verdict
) -> None:
    assert verdicts.merge(forward, backward) == verdict


@given(ANSWERS, ANSWERS)
def test_which_text_is_called_left_changes_nothing(
    forward: Word | None, backward: Word | None
) -> None:
    one, other = verdicts.merge(forward, backward), verdicts.merge(backward, forward)
    assert other.winner == MIRROR[one.winner]
    assert other.favoured == one.favoured


@given(st.sampled_from(WORDS))
def test_a_judge_that_always_says_the_same_prefers_nothing(word: Word) -> None:
    assert verdicts.merge(word, word).winner == "tie"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("A", "A"),
        (" b.\n", "B"),
        ("[[A]]", "A"),
        ("Tie", "tie"),
        ("", None),
        ("A or B", None),
        ("neither", None),
        ("AB", None),
    ],
)
def test_anything_but_one_of_three_words_is_no_answer(text: str, word: Word | None) -> None:
    assert verdicts.parse(text) == word


def test_a_conversation_is_one_trial() -> None:
    """Three conversations: won 2 to 1, lost, tied 1 to 1; a fourth without any verdict."""
    found = [Verdict(w) for w in ("left", "left", "right", "right", "left", "right", None)]
    tally = verdicts.tally(found, ["a", "a", "a", "b", "c", "c", "d"])
    assert (tally.wins, tally.losses, tally.ties, tally.pairs) == (1, 1, 1, 7)
    assert tally.win_rate == wilson(1, 2)
    assert tally.tied == wilson(0, 6)
    assert tally.malformed == wilson(1, 7)


def test_position_bias_is_the_share_that_flips() -> None:
    found = [Verdict("tie", "A"), Verdict("tie", "B"), Verdict("tie"), Verdict("left")]
    tally = verdicts.tally([*found, Verdict(None)], list("abcde"))
    assert tally.position_bias == wilson(2, 4)
    assert tally.favoured_first == 1
    assert tally.tied == wilson(3, 4)


def test_nothing_to_count_is_no_rate() -> None:
    tally = verdicts.tally([], [])
    assert (tally.win_rate, tally.tied, tally.position_bias, tally.malformed) == (None,) * 4


@given(st.lists(st.tuples(WINNERS, st.sampled_from("abc")), min_size=1, max_size=30))
def test_a_mirrored_tally_swaps_wins_and_losses(
    rows: list[tuple[Winner | None, str]],
) -> None:
    groups = [group for _, group in rows]
    one = verdicts.tally([Verdict(w) for w, _ in rows], groups)
    other = verdicts.tally([Verdict(MIRROR[w]) for w, _ in rows], groups)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert (one.tied, one.malformed) == (other.tied, other.malformed)
    if one.win_rate and other.win_rate:
        assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)


@given(st.permutations([("left", "a"), ("right", "a"), ("left", "b"), (None, "c"), ("tie", "b")]))
def test_the_order_of_pairs_changes_nothing(rows: list[tuple[Winner | None, str]]) -> None:
    tally = verdicts.tally([Verdict(w) for w, _ in rows], [group for _, group in rows])
    assert (tally.wins, tally.losses, tally.ties) == (1, 0, 1)
