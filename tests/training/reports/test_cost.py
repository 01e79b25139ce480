"""A cycle's cost: each step once, and whose processors did it."""

from training.reports.cost import Meter
from training.trainers.job import Result


def result(device: str) -> Result:
    return Result("a", 1, 0, 10, 1, 3.0, device, 1, 1, [], cpu_seconds=40.0)


def test_each_step_has_its_seconds_in_order() -> None:
    meter = Meter()
    for step in ("dataset", "training"):
        meter.end(step)
    cost = meter.cost(result("cpu"))
    assert list(cost.steps) == ["dataset", "training"]
    assert all(seconds >= 0 for seconds in cost.steps.values())


def test_a_fine_tuning_on_a_gpu_costs_gpu_seconds_and_on_a_cpu_none() -> None:
    assert Meter().cost(result("cuda")).gpu_seconds == 3.0
    cost = Meter().cost(result("cpu"))
    assert cost.gpu_seconds == 0
    assert cost.cpu_seconds >= 40
