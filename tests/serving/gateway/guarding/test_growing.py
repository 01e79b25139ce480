"""A growing text is read in whole sentences, the same whatever pieces it comes in."""

import random

import pytest

from serving.gateway.guarding.asking import OVERLAP
from serving.gateway.guarding.growing import Growing, Piece
from serving.guards.canonical import canonical

TEXT = (
    "Hello, Mr. Doe!  It is 5 p.m. now. Your order \u201cA\u201d (no. 7) costs $1.50.\n\n"
    "1. Wait. 2. Pay it\u2026 Is that all right? Yes"
)


def read(text: str, sizes: list[int]) -> list[Piece]:
    growing, found, at = Growing(), [], 0
    for size in sizes:
        growing.add(text[at : at + size])
        at += size
        if piece := growing.complete():
            found.append(piece)
    growing.add(text[at:])
    found += [piece for piece in (growing.complete(), growing.close()) if piece]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_new_sentences_are_the_text_however_it_comes(seed: int) -> None:
    rng = random.Random(seed)
    pieces = read(TEXT, [rng.randint(1, 5) for _ in range(60)])
    assert len(pieces) > 5
    assert [p.end for p in pieces] == sorted({p.end for p in pieces})
    assert pieces[-1].end == len(TEXT)
    whole = canonical(TEXT)
    assert pieces[-1].text == whole
    for piece in pieces:
        assert whole[piece.offset :].startswith(piece.text)
        assert not piece.text[piece.since].isspace()


def test_a_sentence_is_given_out_with_the_first_sign_of_the_next() -> None:
    growing = Growing()
    for text in ("It is", " well", ".", " "):
        growing.add(text)
        assert growing.complete() is None
    growing.add("Bye")
    assert growing.complete() == Piece("It is well.", 0, 0, 12)
    assert growing.complete() is None
    assert growing.close() == Piece("It is well. Bye", 0, 12, 15)
    assert growing.close() is None


def test_what_is_no_prose_is_read_at_its_end() -> None:
    growing = Growing(whole=True)
    growing.add("One. Two. Three")
    assert growing.complete() is None
    assert growing.close() == Piece("One. Two. Three", 0, 0, 15)


def test_of_a_long_text_only_the_last_sentences_are_read_again() -> None:
    sentence = "It is all right with the order that you made. "
    pieces = read(sentence * 200, [7] * 1400)
    assert len(pieces) > 150
    assert max(len(p.text) for p in pieces) < OVERLAP + 3 * len(sentence)
    whole = canonical(sentence * 200)
    assert all(whole[p.offset :].startswith(p.text) for p in pieces)
    assert min(p.since for p in pieces[60:]) >= OVERLAP
