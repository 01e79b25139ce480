import random
from collections import Counter

import pytest

from training.data.examples import Example, Message, Source
from training.data.sampling import (
    DAY_S,
    cap,
    capped,
    evened,
    fewer_greetings,
    is_greeting_or_closing,
    rank,
    with_replay,
)
from training.recipe.curation import CurationConfig


def one(
    name: str,
    target: str = "text",
    *,
    task: str = "suggestion",
    at: float = 0.0,
    agent: str | None = None,
    source: Source = "edit",
    version: str | None = "care@1",
) -> Example:
    return Example(
        name,
        name,
        at,
        task,
        None,
        version,
        source,
        (Message("user", "x"),),
        "",
        target,
        agent=agent,
    )


@pytest.mark.parametrize(
    "text",
    [
        "Hello, how can I help?",
        "Hi there!",
        "Good morning. What can I do for you today?",
        "Thank you for contacting us, Maria.",
        "You are welcome. Have a nice day!",
        "Is there anything else I can help you with?",
        "Goodbye.",
    ],
)
def test_formulas_are_greetings_or_closings(text: str) -> None:
    assert is_greeting_or_closing(one("a", text))


@pytest.mark.parametrize(
    "text",
    [
        "Hello. Your refund is on its way.",
        "Hi, your order 4471 ships today.",
        "Hello [EMAIL], hi.",
        "Thank you, Maria. We owe you a refund by Friday.",
        "I am sorry that the kettle arrived broken.",
        "Hello, " + "we looked into the matter and found that the parcel went astray " * 2,
        "",
    ],
)
def test_what_says_something_is_none(text: str) -> None:
    assert not is_greeting_or_closing(one("a", text))


def test_a_summary_is_never_a_greeting() -> None:
    assert not is_greeting_or_closing(one("a", "Hello, how can I help?", task="summary"))


def test_a_share_of_greetings_stays_and_all_else() -> None:
    hello = [one(f"h{n}", "Hello!") for n in range(10)]
    rest = [one(f"r{n}", "Your refund is on its way.") for n in range(5)]
    kept = fewer_greetings([*hello, *rest], 0.25, is_greeting_or_closing)
    assert [e for e in kept if e in rest] == rest
    assert len(kept) == 5 + 3
    again = fewer_greetings([*rest, *reversed(hello)], 0.25, is_greeting_or_closing)
    assert again[:5] == rest
    assert set(again) == set(kept)


def test_no_agent_gives_more_than_the_share_of_what_stays() -> None:
    given = [one(f"big{n}", agent="big") for n in range(100)]
    given += [one(f"{a}{n}", agent=a) for a in "abcd" for n in range(10)]
    kept = Counter(e.agent for e in capped(given, 0.25, 1))
    assert kept == {"big": 13, "a": 10, "b": 10, "c": 10, "d": 10}
    assert kept["big"] <= 0.25 * kept.total()


def test_the_cap_leaves_at_least_the_floor() -> None:
    given = [one(f"big{n}", agent="big") for n in range(100)]
    given += [one(a, agent=a) for a in "abcd"]
    assert Counter(e.agent for e in capped(given, 0.25, 30))["big"] == 30


def counted_down(counts: list[int], share: float, floor: int, unknown: int) -> int:
    """The definition: down from the largest count, one by one, until it fits."""
    found = max(counts)
    while found > floor and found > share * (unknown + sum(min(n, found) for n in counts)):
        found -= 1
    return found


def test_the_cap_is_what_counting_down_finds() -> None:
    chance = random.Random(3)
    for _ in range(3000):
        counts = [chance.choice([1, 3, 40, 900]) for _ in range(chance.randint(1, 12))]
        counts = [chance.randint(1, most) for most in counts]
        share = chance.choice([0.05, 0.1, 0.25, 1 / 3, 0.5, chance.random(), 1.0])
        floor, unknown = chance.choice([0, 1, 2, 30, 500]), chance.choice([0, 0, 5, 300])
        wanted = counted_down(counts, share, floor, unknown)
        assert cap(counts, share, floor, unknown) == wanted, (counts, share, floor, unknown)


@pytest.mark.parametrize("agents", ["a", "ab", "abcd"])
def test_too_few_agents_are_not_capped(agents: str) -> None:
    given = [one(f"{a}{n}", agent=a) for a in agents for n in range(9 if a == "a" else 1)]
    assert capped(given, 0.25, 1) == given


def test_unknown_agents_are_never_dropped() -> None:
    given = [one(f"x{n}") for n in range(50)]
    assert capped(given, 0.25, 1) == given


def replay(given: list[Example], **rules: float) -> list[Example]:
    chosen = {"recent_days": 10, "min_examples": 2, "replay_share": 0.2, "replay_base_share": 0.1}
    return with_replay(given, CurationConfig.model_validate({**chosen, **rules}))


def test_older_data_and_the_bases_own_outputs_each_have_their_share() -> None:
    recent = [one(f"new{n}", at=100 * DAY_S) for n in range(70)]
    older = [one(f"old{n}") for n in range(200)]
    base = [one(f"base{n}", source="rating", version="base") for n in range(200)]
    kept = replay([*older, *base, *recent])
    assert len(kept) == 100
    assert sum(e in older for e in kept) == 20
    assert sum(e in base for e in kept) == 10
    assert [e for e in kept if e.created_at] == recent


def test_recent_data_is_all_kept() -> None:
    recent = [one(f"new{n}", at=n * DAY_S) for n in range(10)]
    assert replay(recent) == recent


def test_replay_fills_up_to_the_least_number_of_examples() -> None:
    given = [one("new", at=100 * DAY_S), *(one(f"old{n}") for n in range(50))]
    assert len(replay(given, min_examples=30)) == 30


def test_rank_is_fixed_for_ever() -> None:
    """Datasets are rebuilt by it, so it may not change; sha256("") begins with e3b0c442."""
    assert rank("") == pytest.approx(0xE3B0C44298FC1C14 / 2**64)


def test_the_median_agent_says_how_many_each_may_give() -> None:
    counts = {"a": 3, "b": 3, "c": 5, "d": 40, None: 7}
    rows = [one(f"{name}{n}", agent=name) for name, count in counts.items() for n in range(count)]
    kept = Counter(e.agent for e in evened(rows, floor=0))
    assert kept == {"a": 3, "b": 3, "c": 4, "d": 4, None: 7}
    assert Counter(e.agent for e in evened(rows, floor=40))["d"] == 10
    assert evened([], floor=5) == []
