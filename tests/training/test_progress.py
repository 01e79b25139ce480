"""Without a terminal, progress is a line for each tenth."""

import io

from rich.console import Console

from training.progress import Lines, each, progress


def test_a_line_for_each_tenth_however_many_steps() -> None:
    said: list[str] = []
    seconds = iter(range(100))
    advance = Lines("training", said.append, clock=lambda: next(seconds))
    for step in range(1, 401):
        advance(step, 400, f"loss {1 / step:.2f}")
    assert len(said) == 10
    assert said[0] == "training: 40 of 400 in 1 s, loss 0.03"
    assert said[-1] == "training: 400 of 400 in 10 s, loss 0.00"


def test_few_steps_give_a_line_each() -> None:
    said: list[str] = []
    advance = Lines("answers", said.append, clock=lambda: 0.0)
    for step in range(1, 4):
        advance(step, 3)
    assert said == [f"answers: {step} of 3 in 0 s" for step in (1, 2, 3)]


def test_what_is_no_terminal_gets_whole_lines() -> None:
    out = io.StringIO()
    with progress("[a] title", Console(file=out, width=10)) as advance:
        done = each(advance, 2)
        done()
        done()
    assert out.getvalue() == "[a] title: 1 of 2 in 0 s\n[a] title: 2 of 2 in 0 s\n"


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with progress("title", Console(file=out, force_terminal=True, width=80)) as advance:
        advance(1, 2, "half")
    assert "half" in out.getvalue()
    assert "1/2" in out.getvalue()
