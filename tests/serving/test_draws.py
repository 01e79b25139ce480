import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.draws import draw, holds_back, in_canary, judge_draw, monitored, shadowed

IDS = [f"c{number}" for number in range(20_000)]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_share_of_the_conversations_is_the_canary_s(share: float) -> None:
    found = sum(in_canary("care@2", share, name) for name in IDS) / len(IDS)
    assert found == pytest.approx(share, abs=0.012)


def test_one_canary_s_conversations_are_no_more_often_the_next_one_s_nor_judges() -> None:
    first = [name for name in IDS if in_canary("care@2", 0.5, name)]
    for again in (
        sum(in_canary("care@3", 0.5, name) for name in first),
        sum(in_canary("sales@2", 0.5, name) for name in first),
        sum(judge_draw("care", name, "") < 0.5 for name in first),
    ):
        assert again / len(first) == pytest.approx(0.5, abs=0.02)


@given(st.text(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_growing_a_canary_moves_no_conversation_back(name: str, small: float, large: float) -> None:
    small, large = sorted((small, large))
    assert not in_canary("care@2", small, name) or in_canary("care@2", large, name)


def test_without_a_conversation_nothing_is_the_canary_s() -> None:
    assert not in_canary("care@2", 1.0, "")
    assert in_canary("care@2", 1.0, "c")


def test_who_judges_depends_on_the_salt_and_is_the_same_for_ever() -> None:
    assert judge_draw("care", "c1", "a") != judge_draw("care", "c1", "b")
    assert draw("judge care ", "c1") == draw("judge care ", "c1")
    assert draw("s", "c1") == pytest.approx(0.129579200649861)


def test_turns_are_held_back_one_by_one_whatever_else_is_drawn() -> None:
    turns = [(name, turn) for name in IDS[:5000] for turn in (1, 3, 5, 7)]
    held = {one for one in turns if holds_back("care", 0.25, *one)}
    assert len(held) / len(turns) == pytest.approx(0.25, abs=0.012)
    both = sum((name, 3) in held for name, turn in held if turn == 1)
    assert both / 5000 == pytest.approx(1 / 16, abs=0.012)
    canary = [one for one in turns if in_canary("care@2", 0.5, one[0])]
    assert sum(one in held for one in canary) / len(canary) == pytest.approx(0.25, abs=0.015)
    assert all(holds_back("care", 0.4, *one) for one in held)
    assert any(not holds_back("sales", 0.25, *one) for one in held)


def test_without_a_conversation_nothing_is_held_back() -> None:
    assert not holds_back("care", 1.0, "", 1)
    assert holds_back("care", 1.0, "c", 1)


def test_a_shadow_s_conversations_are_a_share_and_no_more_often_its_canary_s() -> None:
    found = [name for name in IDS if shadowed("care@2", 0.2, name)]
    assert len(found) / len(IDS) == pytest.approx(0.2, abs=0.012)
    both = sum(in_canary("care@2", 0.5, name) for name in found)
    assert both / len(found) == pytest.approx(0.5, abs=0.03)
    assert all(shadowed("care@2", 0.4, name) for name in found)
    assert not shadowed("care@2", 1.0, "")


def test_answers_are_drawn_to_be_graded_by_share_and_salt_and_none_falls_out() -> None:
    found = {name for name in IDS if monitored("care", 0.2, name, "s")}
    assert len(found) / len(IDS) == pytest.approx(0.2, abs=0.012)
    assert all(monitored("care", 0.4, name, "s") for name in found)
    other = sum(monitored("care", 0.2, name, "t") for name in found)
    assert other / len(found) == pytest.approx(0.2, abs=0.03)
