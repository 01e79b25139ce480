"""The recipe's section on experiment tracking, and the callbacks that write what it asks for."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from training.errors import FineTuneFailed
from training.rules import Rules


class Tracking(Rules):
    """Where a fine-tuning's loss, learning rate and gradient norm are written, step by step."""

    to: Literal["none", "tensorboard", "mlflow"] = Field(
        "none", description="tensorboard writes event files; mlflow needs the package mlflow."
    )
    folder: str = Field(
        "runs/tracking",
        description="Folder of the event files, in it one a line of business and in that one "
        "a run, or of MLflow's runs.",
    )
    uri: str | None = Field(None, description="MLflow's server, in place of the folder.")


def callbacks(tracking: Tracking, lob: str, run: str) -> list[Any]:
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
