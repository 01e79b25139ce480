"""What a turn tells is a prefix that only grows, and what is sure is let go."""

from serving.api.realtime.turn import Turn
from serving.transcription.whisper import Segment
from tests.serving.transcription.test_agreement import words


def segment(said: str, start: float = 0.0) -> Segment:
    its = words(said, start)
    end = its[-1].end if its else start
    text = " " + said
    return Segment(start, end, text, (), 0.0, 0.0, 1.0, 0.0, its)


def grown(turn: Turn, seconds: float) -> None:
    turn.append(bytes(2 * int(turn.rate * seconds)))


def test_the_deltas_joined_are_the_transcript() -> None:
    turn = Turn(16_000)
    grown(turn, 1.5)
    told = [turn.heard([segment("my parcel has")], 1.5)]
    grown(turn, 0.5)
    told.append(turn.heard([segment("my parcel has not")], 2.0))
    grown(turn, 0.5)
    told.append(turn.heard([segment("my parcel has not come")], 2.5, last=True))
    assert told == ["", "my parcel has", " not come"]
    assert turn.known.text == "".join(told)
    assert turn.seconds == turn.kept_s == turn.heard_s == 2.5


def test_sound_that_is_sure_is_let_go_and_later_times_still_fit() -> None:
    turn = Turn(16_000)
    said = " ".join(f"w{n}" for n in range(40))  # 20 s
    grown(turn, 22)
    told = turn.heard([segment(said), segment("", 20.0)], 22)
    told += turn.heard([segment(said), segment("", 20.0)], 22)
    assert told == said
    assert (turn.kept_s, turn.seconds) == (2.0, 22.0)
    assert turn.pcm().seconds == 2.0
    assert turn.said_before == said
    grown(turn, 1)
    told += turn.heard([segment("more words", 1.0)], 23, last=True)
    assert told == turn.known.text == said + " more words"


def test_nothing_heard_is_an_empty_transcript() -> None:
    turn = Turn(24_000)
    grown(turn, 1)
    assert turn.heard([], 1, last=True) == ""
    assert turn.known.text == ""
