"""Near-duplicates among examples, by MinHash (Broder 1997), as kept by `datasketch`.

Two examples are near-duplicates when both their prompts and their targets share nearly all word
3-grams (Jaccard similarity). Locality-sensitive hashing proposes pairs; the similarity that decides
is then computed exactly, so no example is dropped by an estimate. Prompt and target count each for
itself: the suggestions at turns 100 and 102 of one conversation have nearly the same prompt, but
are not the same lesson.

Two steps, so that millions of examples need neither their texts nor an index of them in memory.
The first leaves of each example, read by itself, 16 hashes of 8 bytes, one a band (Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4). Sorting them shows which examples
share a band with another at all; only of these, in order, the second reads the texts again. Time is
linear in the examples and in the proposed pairs, whose number only texts made from one template
drive up.
"""

import hashlib
import re
from array import array
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from training.data.examples import Example

if TYPE_CHECKING:
    import numpy as np
    from datasketch import MinHash
    from numpy.typing import NDArray

BANDS, ROWS = 16, 8
"""At a similarity of 0.9 a pair is proposed with probability 1 - (1 - 0.9^8)^16 > 0.999."""

WORDS = 3
_WORD = re.compile(r"\w+|[^\w\s]")
_TEXTS_KEPT = 4096
"""Examples of proposed pairs whose 3-grams stay in memory: some tens of MB."""

_WORDS_KEPT = 1 << 16
"""Words whose hashes stay in memory: some MB."""

Shingles = tuple[frozenset[str], frozenset[str]]


def first_of_each(
    examples: Sequence[Example], known: Sequence[Example], similarity: float
) -> list[Example]:
    """Return the examples without those that nearly repeat one before them; see `are_new`."""
    new = are_new(examples, [sketch(e) for e in examples], known, similarity)
    return [example for example, is_new in zip(examples, new, strict=True) if is_new]


def are_new(
    examples: Sequence[Example],
    sketches: Sequence[bytes],
    known: Sequence[Example],
    similarity: float,
) -> list[bool]:
    """Say of each example whether it nearly repeats none before it that is new itself.

    Args:
        examples: The first of several near-duplicates is the one that stays. Those of proposed
            pairs are read, by their index.
        sketches: What `sketch` makes of each.
        known: Examples that come before all; nothing is returned of them.
        similarity: Jaccard similarity from which a pair counts as near-duplicates, 0 to 1.
    """
    import numpy as np

    count = len(known) + len(examples)
    read = np.frombuffer(b"".join(chain(map(sketch, known), sketches)), _sketch_type())
    groups = _groups(read["bands"])
    sizes = read["sizes"]

    @lru_cache(_TEXTS_KEPT)
    def shingles(index: int) -> Shingles:
        example = known[index] if index < len(known) else examples[index - len(known)]
        return _pair(example)

    kept: dict[int, array[int]] = {}
    new = [True] * count
    for index in sorted(groups):
        mine = groups[index]
        lists = [kept[group] for group in mine if group in kept]
        for other in _of_like_size(lists, sizes, index, similarity):
            pair = zip(shingles(index), shingles(other), strict=True)
            if all(_jaccard(a, b) >= similarity for a, b in pair):
                new[index] = False
                break
        else:
            for group in mine:
                kept.setdefault(group, array("q")).append(index)
    return new[len(known) :]


def sketch(example: Example) -> bytes:
    """Return an example's bands and its numbers of 3-grams, 136 bytes."""
    import numpy as np

    minhash, factors = _hashing()
    prompt, target = _grams(_prompt(example), 0), _grams(example.target, 1)
    minhash.clear()  # a new one would parse its permutations each time
    minhash.update_batch([gram >> 32 for grams in (prompt, target) for gram in grams])
    values = minhash.hashvalues.astype(np.uint64).reshape(BANDS, ROWS)
    made = np.empty((), _sketch_type())
    made["bands"] = ((values + 1) * factors).sum(axis=1, dtype=np.uint64)
    made["sizes"] = len(prompt), len(target)
    return made.tobytes()


def _grams(text: str, salt: int) -> set[int]:
    """Return the 3-grams of a text as hashes of 64 bits; of a shorter text, one.

    Words are hashed, and three words' hashes make one by multiply-shift (Dietzfelbinger and others,
    1997): the 3-grams themselves, of which there are as many as words, are never written.
    """
    import numpy as np

    hashes = [_word_hash(word) for word in _words(text)]
    words = np.array(hashes + [0] * (WORDS - len(hashes)), np.uint64)
    count = len(words) - WORDS + 1
    factors = _hashing()[1][salt * (WORDS + 1) :]
    made = np.full(count, factors[WORDS])
    for n in range(WORDS):
        made += words[n : n + count] * factors[n]
    return {*made.tolist()}


@lru_cache(_WORDS_KEPT)
def _word_hash(word: str) -> int:
    """Return 64 bits of BLAKE2b, never 0, which stands for no word."""
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") | 1


@cache
def _sketch_type() -> "np.dtype[np.void]":
    import numpy as np

    return np.dtype([("bands", "<u8", (BANDS,)), ("sizes", "<i4", (2,))])


@cache
def _hashing() -> "tuple[MinHash, NDArray[np.uint64]]":
    """Return what hashes all examples alike, and the factors that make one hash of a band."""
    import numpy as np
    from datasketch import MinHash

    minhash = MinHash(num_perm=BANDS * ROWS, seed=1, scheme="affine32", hashfunc=int)
    # Odd factors: a band's hash differs where one of its values does, but for chance of 2^-64.
    factors = np.random.default_rng(1).integers(1 << 62, size=ROWS, dtype=np.uint64) * 2 + 1
    return minhash, factors


def _groups(bands: "NDArray[np.uint64]") -> dict[int, list[int]]:
    """Return, of each example that shares a band with another, the groups that it is in."""
    import numpy as np

    groups: dict[int, list[int]] = {}
    number = 0
    for band in range(bands.shape[1]):
        order = np.argsort(bands[:, band], kind="stable")
        ordered = bands[order, band]
        same = np.flatnonzero(ordered[1:] == ordered[:-1])
        last = -2
        for place in same.tolist():
            if place != last + 1:
                number += 1
                groups.setdefault(int(order[place]), []).append(number)
            groups.setdefault(int(order[place + 1]), []).append(number)
            last = place
    return groups


def _of_like_size(
    lists: "Sequence[array[int]]", sizes: "NDArray[np.int32]", index: int, similarity: float
) -> list[int]:
    """Return the examples of these lists whose numbers of 3-grams allow the similarity.

    Of two sets the Jaccard similarity is at most the smaller's size over the larger's.
    """
    import numpy as np

    if not lists:
        return []
    others = np.unique(np.concatenate([np.frombuffer(one, np.int64) for one in lists]))
    a, b = sizes[others], sizes[index]
    alike = np.minimum(a, b) >= similarity * np.maximum(a, b) - 1e-9
    found: list[int] = others[alike.all(axis=1)].tolist()
    return found


def _pair(example: Example) -> Shingles:
    """Return the 3-grams of prompt and target."""
    return _shingles(_prompt(example)), _shingles(example.target)


def _prompt(example: Example) -> str:
    """Return what was said; a long system prompt would make all prompts alike."""
    return "\n".join(m.content for m in example.messages if m.role != "system")


def _shingles(text: str) -> frozenset[str]:
    """Return a text's word 3-grams, case aside; of a shorter text, the text itself."""
    words = _words(text)
    count = max(1, len(words) - WORDS + 1)
    return frozenset(" ".join(words[start : start + WORDS]) for start in range(count))


def _words(text: str) -> list[str]:
    """Return a text's words and signs, case aside."""
    return _WORD.findall(text.casefold())


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
