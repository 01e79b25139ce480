import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.overlap import chrf, rouge_l


@pytest.mark.parametrize(
    ("output", "final", "expected"),
    [  # values of sacrebleu 2.6.0 (sentence_chrf) and rouge-score 0.1.2 (rougeL, no stemmer)
        ("the cat sat on the mat", "the cat is on the mat", (0.645779, 0.833333)),
        (
            "We owe Maria a refund by Friday at noon.",
            "We owe Maria a full refund by Friday at noon.",
            (0.822476, 0.947368),
        ),
        ("abc", "abcdefgh", (0.322506, 0.0)),
        ("kettle", "phone box", (0.02193, 0.0)),
        (
            "Promotion offered: Spring Deal, 20 percent off.",
            "Promotion offered: Summer Deal, 25 percent off the lamp. Bought: yes.",
            (0.510382, 0.555556),
        ),
    ],
)
def test_values_of_the_reference_libraries(
    output: str, final: str, expected: tuple[float, float]
) -> None:
    assert (chrf(output, final), rouge_l(output, final)) == pytest.approx(expected, abs=1e-6)


def test_rouge_l_by_hand() -> None:
    """a b c of a b c d and a x b c: precision 3/4, recall 3/4."""
    assert rouge_l("a b c d", "A x b, c") == pytest.approx(0.75)


def test_chrf_by_hand() -> None:
    """ab and ac: order 1 shares one of two, order 2 none: precision and recall 1/4."""
    assert chrf("a b", "ac") == pytest.approx(0.25)


def test_nothing_is_like_nothing_only() -> None:
    assert (rouge_l("", ""), chrf("", " ")) == (1.0, 1.0)
    assert (rouge_l("", "a"), chrf("a", "")) == (0.0, 0.0)


@given(st.text(max_size=40), st.text(max_size=40))
def test_overlaps_are_bounded_and_whole_for_the_same_text(a: str, b: str) -> None:
    for overlap in (rouge_l, chrf):
        assert 0 <= overlap(a, b) <= 1 + 1e-12
        assert overlap(a, a) == pytest.approx(1)
