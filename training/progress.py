"""One progress bar with the loss, in place of the trainer's lines of figures."""

from typing import Any


def show_progress(trainer: Any, title: str) -> None:
    """Give a trainer a bar on standard error, drawn only where a person looks on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from transformers import PrinterCallback, TrainerCallback

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = progress.add_task(title, total=None, loss="")

    class Bar(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            progress.start()
            progress.update(task, total=state.max_steps, completed=state.global_step)

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                loss = f"loss {float(logs['loss']):.3f}"
                progress.update(task, completed=state.global_step, loss=loss)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            progress.stop()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Bar())
