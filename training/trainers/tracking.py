"""The callbacks that write a fine-tuning's steps where the recipe asks for it."""

import os
from pathlib import Path
from typing import Any

from training.errors import FineTuneFailed
from training.recipe.tracking import TrackingConfig


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
