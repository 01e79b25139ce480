"""The callbacks that write a fine-tuning's steps, for who runs it and where the recipe asks."""

import json
import math
import os
from pathlib import Path
from typing import Any

from training.errors import FineTuneFailed
from training.recipe.tracking import TrackingConfig

STEPS = "steps.jsonl"
"""In a stage's folder: what was logged of each step, a line each, as it comes."""


def step_log(file: Path) -> Any:
    """Return a callback that adds each step's figures, and each checkpoint, to a file at once.

    A line is ``{"step": 3, "of": 12, "loss": …, …}``, ``{"step": 4, "of": 12, "eval_loss": …, …}``
    or ``{"checkpoint": 4}``. A run that is resumed writes the steps after its checkpoint again.
    """
    from transformers import TrainerCallback

    class Log(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def _add(self, state: Any, content: dict[str, Any]) -> None:
            if state.is_world_process_zero:  # of several processes, one writes
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(content) + "\n")

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            figures = {
                name: float(value)
                for name, value in (logs or {}).items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
            if figures.keys() & {"loss", "eval_loss"}:
                self._add(state, {"step": state.global_step, "of": state.max_steps, **figures})

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self._add(state, {"checkpoint": state.global_step})

    return Log()


def callbacks(tracking: TrackingConfig, lob: str, run: str) -> list[Any]:
    """Return what the trainer calls at each step.

    Args:
        tracking: The recipe's section.
        lob: The line of business; MLflow's experiment is named after it.
        run: The run's name.

    Raises:
        FineTuneFailed: The package is not installed.
    """
    if tracking.to == "none":
        return []
    try:
        if tracking.to == "tensorboard":
            from transformers.integrations import TensorBoardCallback

            board = TensorBoardCallback()  # opens its file when training begins, in one process
            board.logging_dir = str(Path(tracking.folder) / lob / run)
            return [board]
        from transformers.integrations import MLflowCallback

        place = tracking.uri or Path(tracking.folder).absolute().as_uri()
        os.environ |= {"MLFLOW_TRACKING_URI": place, "MLFLOW_EXPERIMENT_NAME": lob}
        return [MLflowCallback()]
    except (ImportError, RuntimeError) as exc:
        raise FineTuneFailed(f"tracking.to is {tracking.to}, which cannot run: {exc}") from exc
