"""A shadow is compared with the live version by one final text, pair by pair."""

import numpy as np
import pytest

from serving.store.records import LabelledInteraction
from serving.store.shadows import ShadowRecord
from tests.training.records import labelled
from training.analysis.plan import POWER
from training.analysis.shadow import Comparison, Pair, compare, pairs, power, words
from training.recipe.curation import CurationConfig
from training.recipe.recipe import EvaluationConfig

RULES = CurationConfig()
INTERVALS = EvaluationConfig(resamples=500)


def unseen(item: LabelledInteraction, output: str) -> ShadowRecord:
    return ShadowRecord(
        interaction_id=item.interaction.id, version="care@3", output=output, latency_ms=1.0
    )


def one(item: LabelledInteraction, output: str) -> Pair:
    (found,) = pairs([item], [unseen(item, output)], RULES)
    return found


def test_an_edit_is_the_final_text_of_both() -> None:
    found = one(labelled("i", {"edit": "abcd"}, output="abxx"), "abcx")
    assert found.similarity == (0.5, 0.75)
    assert found.edited
    assert (found.conversation, found.live) == ("c-i", "base")


def test_what_was_used_is_its_own_final_text_where_the_shadow_cannot_win() -> None:
    found = one(labelled("i", {"used": True}, output="abcd"), "abcx")
    assert found.similarity == (1.0, 0.75)
    assert not found.edited


def test_the_latest_word_on_an_answer_counts() -> None:
    item = labelled("i", {"rejected": True}, {"edit": "abcx"}, output="abcd")
    assert one(item, "abcx").similarity == (0.75, 1.0)


def test_of_a_rejection_only_the_facts_are_compared() -> None:
    item = labelled("i", {"rejected": True}, output="See you at 15:30.", prompt="When?")
    found = one(item, "See you.")
    assert found.similarity is None
    assert found.invented == (True, False)


@pytest.mark.parametrize("fields", [{"task": "chat"}, {"messages": [{"role": "user"}]}])
def test_what_training_would_not_read_is_not_compared(fields: dict[str, object]) -> None:
    item = labelled("i", {"used": True}, **fields)
    assert (
        pairs([item], [unseen(item, "x")], RULES.model_copy(update={"tasks": ("summary",)})) == []
    )


def test_only_what_both_answered_is_compared() -> None:
    item, other = labelled("i", {"used": True}), labelled("j", {"used": True})
    assert [p.conversation for p in pairs([item, other], [unseen(other, "x")], RULES)] == ["c-j"]


def pair(number: int, shown: float, other: float, *, edited: bool = True, **fields: object) -> Pair:
    known = {"conversation": f"c{number}", "at": float(number), "live": "care@2"} | fields
    return Pair(**known, similarity=(shown, other), edited=edited, invented=(False, False))


def compared(found: list[Pair]) -> Comparison:
    said = compare("care@3", found, INTERVALS, effect=0.05)
    assert said is not None
    return said


def test_the_gain_is_paired_and_edited_answers_have_one_of_their_own() -> None:
    rng = np.random.default_rng(1)
    edited = [pair(n, base, base + 0.1) for n, base in enumerate(rng.uniform(0.2, 0.8, 40))]
    used = [pair(100 + n, 1.0, 0.8, edited=False) for n in range(40)]
    said = compared(edited + used)
    assert said.gain is not None
    assert said.gain_of_edited is not None
    assert said.gain.mean == pytest.approx(-0.05)
    assert said.gain.low < -0.05 < said.gain.high
    assert said.gain_of_edited.mean == pytest.approx(0.1)
    assert said.gain_of_edited.high - said.gain_of_edited.low < 1e-9  # the base moved both alike
    assert (said.answers, said.conversations) == (80, 80)
    assert said.as_json()["gain"]["count"] == 80
    assert words(said.gain_of_edited) == "+0.100 [+0.100, +0.100]"


def test_no_invented_fact_in_few_conversations_shows_little() -> None:
    said = compared([pair(n, 0.5, 0.5) for n in range(5)])
    assert said.invented is not None
    assert said.invented.mean == 0
    assert said.invented.high > 0.3


def test_of_two_live_versions_the_last_is_compared() -> None:
    old = [pair(n, 0.0, 1.0, live="care@1") for n in range(10)]
    new = [pair(20 + n, 0.5, 0.5) for n in range(6)]
    said = compared(old + new)
    assert (said.live, said.answers, said.conversations) == ("care@2", 6, 6)


def test_turns_of_one_conversation_are_no_conversations() -> None:
    said = compared([pair(n, 0.1, 0.9, conversation="c") for n in range(50)])
    assert (said.conversations, said.gain, said.power) == (1, None, None)
    assert words(said.gain) == "too few conversations"


def test_without_a_pair_there_is_nothing_to_say() -> None:
    assert compare("care@3", [], INTERVALS, effect=0.05) is None


def drawn(count: int, correlation: float, seed: int, gain: float = 0.0) -> np.ndarray:
    """Two versions' outcomes in conversations, (count, 2), each with standard deviation 0.2."""
    covariance = 0.04 * np.array([[1, correlation], [correlation, 1]])
    return np.random.default_rng(seed).multivariate_normal([0.5, 0.5 + gain], covariance, count)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_so_many_conversations_show_the_gain_as_often_as_said(correlation: float) -> None:
    known = [pair(n, *row) for n, row in enumerate(drawn(4000, correlation, 0))]
    said = power(known, 0.05, 0.95)
    assert said is not None
    # 2 (v + w) / n of independent arms against (v + w - 2 r s t) / n of pairs
    assert said.canary / said.shadow == pytest.approx(2 / (1 - correlation), rel=0.06)

    def shown(values: np.ndarray, error: float) -> bool:
        return bool(values.mean() / error > 1.96)

    runs, by_shadow, by_canary = 600, 0, 0
    for seed in range(1, runs + 1):
        both = drawn(said.shadow, correlation, seed, gain=0.05)
        gain = both[:, 1] - both[:, 0]
        by_shadow += shown(gain, gain.std(ddof=1) / np.sqrt(said.shadow))
        half = said.canary // 2
        live, canary = drawn(half, 0, seed)[:, 0], drawn(half, 0, 10**6 + seed, gain=0.05)[:, 1]
        error = np.sqrt((live.var(ddof=1) + canary.var(ddof=1)) / half)
        by_canary += shown(np.array([canary.mean() - live.mean()]), error)
    assert by_shadow / runs == pytest.approx(POWER, abs=0.05)
    assert by_canary / runs == pytest.approx(POWER, abs=0.05)
