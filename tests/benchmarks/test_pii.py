import pii

from tests.serving.redaction.corpus import Turn, turns

TURN = Turn("pin 4482, card 4111 1111", ((4, 8, "pin"), (15, 24, "card")))
PLAIN = Turn("open 9-17", ())


def test_a_value_is_recalled_when_all_of_it_is_covered() -> None:
    line = pii.score([TURN], [[(4, 8, "pin"), (15, 19, "card")]])
    assert line["recall"]["rate"] == 0.5
    assert line["recall_by_kind"]["card"]["rate"] == 0.0
    assert line["precision"]["rate"] == 1.0


def test_what_touches_no_value_is_wrong_and_a_kind_is_told_apart() -> None:
    line = pii.score([TURN, PLAIN], [[(4, 8, "account")], [(5, 9, "phone")]])
    assert line["precision"]["rate"] == 0.5
    assert line["precision_by_kind"]["phone"]["rate"] == 0.0
    assert line["kind_named_right"]["pin"]["rate"] == 0.0
    assert line["harmless_turns_kept"]["rate"] == 0.0


def test_intervals_are_wider_for_fewer() -> None:
    few, many = pii.rate(10, 10), pii.rate(1000, 1000)
    assert few["low"] < many["low"] < 1 == few["high"]


def test_redaction_keeps_what_the_benchmark_says() -> None:
    corpus = turns(seed=11, personal=200, harmless=100)
    line = pii.score(corpus, pii.ours(corpus))
    assert line["recall"]["rate"] >= 0.98
    assert line["precision"]["rate"] >= 0.95
