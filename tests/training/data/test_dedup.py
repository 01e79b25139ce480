import random

from datasketch import MinHash, MinHashLSH

from training.data import dedup
from training.data.dedup import first_of_each
from training.data.examples import Example, Message

WORDS = [f"word{n}" for n in range(100)]
LONG = " ".join(WORDS)


def one(name: str, prompt: str, target: str, system: str = "") -> Example:
    said = (Message("system", system), Message("user", prompt))
    return Example(name, name, 1.0, "chat", None, None, "edit", said, "", target)


def names(*given: Example, known: tuple[Example, ...] = (), similarity: float = 0.9) -> list[str]:
    return [e.interaction_id for e in first_of_each(given, known, similarity)]


def test_the_first_of_near_duplicates_stays() -> None:
    assert names(one("a", LONG, LONG), one("b", f"{LONG} more", f"{LONG}!")) == ["a"]


def test_both_prompt_and_target_must_be_alike() -> None:
    assert names(one("a", LONG, "yes, today"), one("b", LONG, "no, not today")) == ["a", "b"]
    assert names(one("a", "a kettle", LONG), one("b", "a phone", LONG)) == ["a", "b"]


def test_a_changed_number_in_a_short_answer_is_another_lesson() -> None:
    assert names(
        one("a", LONG, "We call you at 5 pm."), one("b", LONG, "We call you at 6 pm.")
    ) == [
        "a",
        "b",
    ]


def test_the_similarity_decides_exactly() -> None:
    """98 3-grams each, 3 of them touched by the one changed word: 95 / 101."""
    changed = " ".join([*WORDS[:50], "other", *WORDS[51:]])
    pair = one("a", LONG, "same"), one("b", changed, "same")
    assert names(*pair, similarity=94 / 101) == ["a"]
    assert names(*pair, similarity=96 / 101) == ["a", "b"]


def test_what_is_known_comes_first_and_is_not_returned() -> None:
    assert names(one("b", LONG, LONG), known=(one("golden", LONG, LONG),)) == []


def test_a_long_system_prompt_makes_nothing_alike() -> None:
    given = [one(n, f"my {n} is broken", f"send the {n} back", system=LONG * 9) for n in "abc"]
    assert names(*given) == ["a", "b", "c"]


def test_no_pair_is_missed_among_many() -> None:
    many = [one(f"{n}", " ".join(f"{n}-{w}" for w in WORDS), "ok") for n in range(50)]
    twins = [one(f"t{e.interaction_id}", e.messages[1].content + " x", "ok") for e in many]
    assert names(*many, *twins) == [str(n) for n in range(50)]


def test_what_stays_is_what_an_index_of_all_that_stayed_would_keep() -> None:
    """The definition: each example is looked up in datasketch's own index of those kept so far."""
    chance = random.Random(2)
    given = []
    for n in range(300):
        words = list(chance.choice(given).target.split()) if n > 20 else chance.choices(WORDS, k=60)
        for _ in range(chance.choice([0, 1, 2, 5])):
            words[chance.randrange(len(words))] = chance.choice(WORDS)
        given.append(one(str(n), LONG, " ".join(words)))
    index = MinHashLSH(num_perm=128, params=(16, 8))
    kept: dict[str, Example] = {}
    for example in given:
        pair = dedup._pair(example)
        sketch = MinHash(num_perm=128, seed=1, scheme="affine32")
        tokens = [*(f"p{text}" for text in pair[0]), *(f"t{text}" for text in pair[1])]
        sketch.update_batch([token.encode() for token in tokens])
        others = (dedup._pair(kept[name]) for name in index.query(sketch))
        if not any(
            all(len(a & b) / len(a | b) >= 0.8 for a, b in zip(pair, other, strict=True))
            for other in others
        ):
            kept[example.interaction_id] = example
            index.insert(example.interaction_id, sketch)
    assert 20 < len(kept) < 280
    assert names(*given, similarity=0.8) == list(kept)
