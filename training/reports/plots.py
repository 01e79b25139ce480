"""Plots of intervals, as PNG data that an HTML page holds inside itself."""

import base64
import io
from collections.abc import Mapping, Sequence

from training.stats.bootstrap import Interval


def intervals(
    panels: Sequence[tuple[str, Mapping[str, Mapping[str, Interval | None]]]],
) -> str:
    """Return a data URI of panels side by side: series of points with error bars.

    Args:
        panels: (title, series name to label to interval); what is None is left out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 3.5), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, series) in zip(axes, panels, strict=True):
        labels = list(dict.fromkeys(label for points in series.values() for label in points))
        for number, (name, points) in enumerate(series.items()):
            shift = 0.12 * (number - (len(series) - 1) / 2)
            known = [(labels.index(label), one) for label, one in points.items() if one]
            axis.errorbar(
                [x + shift for x, _ in known],
                [one.mean for _, one in known],
                yerr=[
                    [max(0.0, one.mean - one.low) for _, one in known],
                    [max(0.0, one.high - one.mean) for _, one in known],
                ],
                fmt="o",
                capsize=4,
                label=name,
            )
        axis.set_xticks(range(len(labels)), labels)
        axis.set_xlim(-0.5, max(1, len(labels)) - 0.5)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
        if len(series) > 1:
            axis.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
