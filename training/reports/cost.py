"""What one cycle of a line of business cost: seconds by step, on the clock and of processors."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.trainers.job import Result


@dataclass(frozen=True)
class Cost:
    """A cycle's cost.

    Args:
        steps: Wall seconds by step, in their order.
        cpu_seconds: CPU seconds of the fine-tuning, of all its threads, and of this process.
        gpu_seconds: GPU seconds of the fine-tuning; 0 on a CPU. The server's own, which answers
            while it is being evaluated, are not known here.
    """

    steps: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0


class Meter:
    """Measures a cycle from its first moment."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cpu = time.process_time()
        self._steps: dict[str, float] = {}

    def end(self, step: str) -> None:
        """End a step; the next one begins."""
        now = time.monotonic()
        self._steps[step] = now - self._last
        self._last = now

    def cost(self, training: Result | None) -> Cost:
        """Return the cost so far.

        Args:
            training: The fine-tuning's figures; None: nothing was trained.
        """
        if training is None:
            return Cost(steps=dict(self._steps), cpu_seconds=time.process_time() - self._cpu)
        return Cost(
            steps=dict(self._steps),
            cpu_seconds=time.process_time() - self._cpu + training.cpu_seconds,
            gpu_seconds=training.seconds if training.device == "cuda" else 0.0,
        )
