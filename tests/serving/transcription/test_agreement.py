"""What two hypotheses agree on stands firm, and nothing that stood firm is said twice."""

import random

from serving.transcription.agreement import Agreement, cut, text
from serving.transcription.whisper import Word


def words(said: str, start: float = 0.0, each: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(one, start + n * each, start + (n + 1) * each) for n, one in enumerate(said.split())
    )


def test_one_hypothesis_confirms_nothing() -> None:
    known = Agreement().heard(words("my parcel"))
    assert known.text == ""
    assert text(known.pending) == " my parcel"


def test_what_two_have_in_common_is_confirmed() -> None:
    known = Agreement().heard(words("my parcel has")).heard(words("my parcel had not"))
    assert known.text == "my parcel"
    assert text(known.pending) == " had not"


def test_what_was_confirmed_is_never_taken_back() -> None:
    known = Agreement().heard(words("my parcel has")).heard(words("my parcel has not"))
    assert known.text == "my parcel has"
    later = known.heard(words("your parcel has not come")).heard(words("your parcel has not come"))
    assert later.text == "my parcel has not come"


def test_words_whose_times_have_shifted_are_not_repeated() -> None:
    known = Agreement().heard(words("my parcel has")).heard(words("my parcel has"))
    shifted = words("my parcel has not", start=0.45)
    assert known.heard(shifted).heard(shifted).text == "my parcel has not"


def test_a_tail_that_is_heard_again_after_a_cut_is_not_repeated() -> None:
    known = Agreement(words("my parcel has"))
    again = words("parcel has not come", start=1.45)
    assert known.finished(again, since_s=1.4).text == "my parcel has not come"


def test_a_word_that_is_said_twice_is_kept_twice() -> None:
    said = words("no no no")
    assert Agreement().heard(said).heard(said).text == "no no no"
    assert Agreement(said[:2]).finished(said).text == "no no no"


def test_the_end_takes_the_last_hypothesis_as_it_is() -> None:
    known = Agreement().heard(words("my")).finished(words("my parcel has"))
    assert (known.text, known.pending) == ("my parcel has", ())
    assert known.finished(()).text == "my parcel has"


def test_a_language_without_spaces_gets_none() -> None:
    said = (Word("荷物", 0, 0.5, ""), Word("が", 0.5, 0.6, ""))
    assert Agreement().finished(said).text == "荷物が"


def test_a_prefix_only_grows_whatever_is_heard() -> None:
    draw = random.Random(7)
    for _ in range(300):
        known = Agreement()
        for _ in range(8):
            hypothesis = words(
                " ".join(draw.choice("a b c d".split()) for _ in range(draw.randrange(7))),
                draw.random(),
            )
            later = known.heard(hypothesis)
            assert later.confirmed[: len(known.confirmed)] == known.confirmed
            known = later


def test_only_pieces_that_are_confirmed_whole_are_cut() -> None:
    known = Agreement(words(" ".join("abcdefgh" * 5)))  # 20 s
    assert cut(known, [6.0, 14.0, 25.0, 26.0], 0.0, longer_than_s=15) == 14.0
    assert cut(known, [25.0], 0.0, longer_than_s=15) == 20.0
    assert cut(known, [6.0, 14.0, 25.0], 10.0, longer_than_s=15) == 10.0
    assert cut(Agreement(), [6.0, 14.0], 0.0, longer_than_s=15) == 0.0
