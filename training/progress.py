"""Progress of what takes long: a bar where a person looks on, else a line for each tenth."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PARTS = 10

Advance = Callable[..., None]
"""`advance(done, total, note="")`: so much is done, of so much in all."""


class Lines:
    """Says what is done, a line for each tenth: for logs and pipes.

    Args:
        title: What is going on.
        say: Prints a line.
        clock: Seconds, of which differences are shown.
    """

    def __init__(
        self, title: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title = title
        self._say = say
        self._clock = clock
        self._began = clock()
        self._tenths = 0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Print a line if another tenth is reached."""
        tenths = PARTS * done // max(1, total)
        if tenths <= self._tenths:
            return
        self._tenths = tenths
        seconds = self._clock() - self._began
        said = [f"{self._title}: {done} of {total} in {seconds:.0f} s", note]
        self._say(", ".join(filter(None, said)))


@contextmanager
def progress(title: str, console: Console | None = None) -> Iterator[Advance]:
    """Show progress; yields what is told of it.

    Args:
        title: What is going on.
        console: Where to; standard error by default.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Lines(title, lambda text: console.print(text, markup=False, soft_wrap=True))
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    notes = TextColumn("{task.fields[note]}")
    with Progress(TextColumn("{task.description}"), *columns, notes, console=console) as bar:
        task = bar.add_task(title, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield advance


def each(advance: Advance, total: int) -> Callable[[], None]:
    """Return what is called after each of `total` steps."""
    count = itertools.count(1)
    return lambda: advance(next(count), total)


def show_progress(trainer: Any, title: str) -> None:
    """Give a trainer progress with the loss, in place of its lines of figures."""
    from transformers import PrinterCallback, TrainerCallback

    shown = ExitStack()

    class Shown(TrainerCallback):  # type: ignore[misc,unused-ignore]
        advance: Advance

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if state.is_world_process_zero:  # of several processes, one speaks
                self.advance = shown.enter_context(progress(title))
                self.advance(state.global_step, state.max_steps)

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs and state.is_world_process_zero:
                loss = f"loss {float(logs['loss']):.3f}"
                self.advance(state.global_step, state.max_steps, loss)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            shown.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Shown())


class _StepLines(logging.Handler):
    """Prints each record as one line, however long: rich's own handler folds lines in pipes."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__()
        self._stderr = stderr

    def emit(self, record: logging.LogRecord) -> None:
        console = Console(stderr=self._stderr, soft_wrap=True)
        console.print(self.format(record), markup=False, highlight=False)


def show_steps(*, stderr: bool = False, indent: str = "") -> None:
    """Show what training logs of its steps, a line each, while a command runs."""
    handler = _StepLines(stderr=stderr)
    handler.setFormatter(logging.Formatter(f"{indent}%(message)s"))
    steps = logging.getLogger("training")
    steps.handlers = [kept for kept in steps.handlers if not isinstance(kept, _StepLines)] + [
        handler
    ]
    steps.setLevel(logging.INFO)
