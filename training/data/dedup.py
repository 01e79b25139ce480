"""Near-duplicates among examples, by MinHash (Broder 1997), as kept by `datasketch`.

Two examples are near-duplicates when both their prompts and their targets share nearly all word
3-grams (Jaccard similarity). Locality-sensitive hashing proposes pairs; the similarity that decides
is then computed exactly, so no example is dropped by an estimate. Prompt and target count each for
itself: the suggestions at turns 100 and 102 of one conversation have nearly the same prompt, but
are not the same lesson.
"""

import re
from collections.abc import Iterable, Sequence

from training.data.examples import Example

BANDS, ROWS = 16, 8
"""At a similarity of 0.9 a pair is proposed with probability 1 - (1 - 0.9^8)^16 > 0.999."""

WORDS = 3
_WORD = re.compile(r"\w+|[^\w\s]")


def first_of_each(
    examples: Sequence[Example], known: Iterable[Example], similarity: float
) -> list[Example]:
    """Return the examples without those that nearly repeat one before them.

    Args:
        examples: The first of several near-duplicates is the one that stays.
        known: Examples that come before all; they are not returned.
        similarity: Jaccard similarity from which a pair counts as near-duplicates, 0 to 1.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    kept: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
    out = []
    seed = MinHash(num_perm=BANDS * ROWS, seed=1, scheme="affine32")

    def is_new(example: Example) -> bool:
        pair = _shingles(_prompt(example)), _shingles(example.target)
        tokens = [*(f"p{text}" for text in pair[0]), *(f"t{text}" for text in pair[1])]
        sketch = seed.copy()
        sketch.update_batch([token.encode("utf-8", "replace") for token in tokens])
        for key in index.query(sketch):
            if all(_jaccard(a, b) >= similarity for a, b in zip(pair, kept[key], strict=True)):
                return False
        kept[len(kept)] = pair
        index.insert(len(kept) - 1, sketch)
        return True

    for example in known:
        is_new(example)
    for example in examples:
        if is_new(example):
            out.append(example)  # noqa: PERF401 - is_new remembers what it has seen
    return out


def _prompt(example: Example) -> str:
    """Return what was said; a long system prompt would make all prompts alike."""
    return "\n".join(m.content for m in example.messages if m.role != "system")


def _shingles(text: str) -> frozenset[str]:
    """Return a text's word 3-grams, case aside; of a shorter text, the text itself."""
    words = _WORD.findall(text.casefold())
    count = max(1, len(words) - WORDS + 1)
    return frozenset(" ".join(words[start : start + WORDS]) for start in range(count))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
