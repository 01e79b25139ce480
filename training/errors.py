"""What can stop a training run, each with what to do about it.

The tree, one sentence a class::

    SwitchboardError             Anything this package raises on purpose.
    ├── ConfigError              The configuration file is wrong; all its faults are listed.
    │   └── RecipeError          The recipe is wrong; all its faults are listed.
    ├── DatasetError             A dataset cannot be read, rebuilt or imported; names the row.
    ├── DialogError              A dialog file could not be read; names the file, the line, the fix.
    └── TrainingError            A training run could not finish; nothing was switched.
        ├── TooLittleData        The feedback is not enough yet; the message counts what is missing.
        ├── CurationFailed       The process that makes datasets died or failed; none was made.
        ├── FineTuneFailed       The trainer stopped, or what it made cannot be used.
        │   ├── RenderingDiffers Serving would ask an example with other tokens; names it.
        │   └── WorkerLost       The training process died; the same job may succeed on another.
        └── EvaluationFailed     The server did not answer what the comparison needs.

They share the server's base class, so one place maps all of them to OpenAI's error shape.
"""

from serving.errors import ConfigError, SwitchboardError


class RecipeError(ConfigError):
    """The recipe is wrong; all its faults are listed."""

    code = "invalid_recipe"


class DatasetError(SwitchboardError):
    """A dataset cannot be read, rebuilt or imported; names the row."""

    code = "invalid_dataset"


class DialogError(SwitchboardError):
    """A dialog file could not be read; names the file, the line, the fix."""

    code = "invalid_dialogs"


class TrainingError(SwitchboardError):
    """A training run could not finish; nothing was switched."""

    code = "training_failed"


class TooLittleData(TrainingError):
    """The feedback is not enough yet; the message counts what is missing."""

    code = "too_little_data"


class CurationFailed(TrainingError):
    """The process that makes datasets died or failed; none was made."""

    code = "curation_failed"


class FineTuneFailed(TrainingError):
    """The trainer stopped, or what it made cannot be used."""

    code = "fine_tune_failed"


class RenderingDiffers(FineTuneFailed):
    """Serving would ask an example with other tokens; names it."""

    code = "rendering_differs"


class WorkerLost(FineTuneFailed):
    """The training process died; the same job may succeed on another."""

    code = "worker_lost"


class EvaluationFailed(TrainingError):
    """The server did not answer what the comparison needs."""

    code = "evaluation_failed"
