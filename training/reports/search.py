"""A search as the report shows it: its trials as a plot and as JSON."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from training.execution import search
from training.execution.search import SearchTrial

PLOT = "search.png"


def plots(trials: Sequence[SearchTrial]) -> dict[str, bytes]:
    """Return the plot by its file name; nothing where there was no search."""
    if not trials:
        return {}
    from matplotlib.figure import Figure

    best = search.best(trials)
    finished = [(trial, trial.loss) for trial in trials if trial.loss is not None]
    names = list(trials[0].values)
    figure = Figure(figsize=(3 * len(names), 3), layout="constrained")
    axes = list(figure.subplots(1, len(names), sharey=True, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=True):
        for trial, loss in finished:
            marker, size = ("*", 12) if trial is best else ("o", 5)
            axis.plot(trial.values[name], loss, marker, markersize=size, color="C0")
            axis.annotate(str(trial.number), (trial.values[name], loss), fontsize=7)
        if name == "learning_rate":
            axis.set_xscale("log")
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation loss")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return {PLOT: buffer.getvalue()}


def as_json(trials: Sequence[SearchTrial]) -> list[dict[str, Any]]:
    """Return the trials as the report's JSON has them."""
    best = search.best(trials)
    return [{**asdict(trial), "best": trial is best} for trial in trials]
