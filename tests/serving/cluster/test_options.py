"""What Ray Serve is asked for: counts, places and limits, from the configuration."""

from typing import Any

import pytest
from pydantic import ValidationError

from serving.cluster import options as serve_options
from serving.config.settings import Settings


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {}}} | changes)


def test_replicas_are_a_number_unless_they_scale() -> None:
    assert serve_options.deployment(settings(replicas=3))["num_replicas"] == 3
    scaled = serve_options.deployment(
        settings(autoscaling={"min_replicas": 2, "max_replicas": 6, "target_ongoing_requests": 9})
    )
    assert "num_replicas" not in scaled
    assert scaled["autoscaling_config"]["max_replicas"] == 6
    assert scaled["autoscaling_config"]["target_ongoing_requests"] == 9


def test_a_replica_outlives_its_requests() -> None:
    made = settings(http={"drain_s": 100})
    assert serve_options.deployment(made)["graceful_shutdown_timeout_s"] > 100
    assert serve_options.haproxy_hard_stop_s(settings(http={"drain_s": 900})) > 900


def test_one_more_replica_starts_first_where_there_is_room() -> None:
    assert serve_options.deployment(settings())["max_surge_percent"] == 1
    assert serve_options.deployment(settings(rollouts={"surge": False}))["max_surge_percent"] == 0


def test_tensor_parallel_on_one_node_reserves_its_gpus() -> None:
    made = settings(resources={"num_gpus": 4, "num_cpus": 8, "accelerator_type:H100": 0.001})
    options = serve_options.deployment(made)
    assert options["ray_actor_options"]["num_gpus"] == 4
    assert options["ray_actor_options"]["resources"] == {"accelerator_type:H100": 0.001}
    assert "placement_group_bundles" not in options
    assert serve_options.missing(made, {"CPU": 100, "accelerator_type:H100": 1, "GPU": 3}) == [
        "GPU: 4 needed, 3 free"
    ]


def test_an_engine_over_nodes_has_a_placement_group() -> None:
    bundles = [{"CPU": 1, "GPU": 1}] + [{"GPU": 1}] * 15
    made = settings(placement={"bundles": bundles, "strategy": "PACK"})
    options = serve_options.deployment(made)
    assert options["placement_group_bundles"] == bundles
    assert options["placement_group_strategy"] == "PACK"
    assert serve_options.one_replica(made) == {"CPU": 1, "GPU": 16}


def test_replicas_spread_over_nodes() -> None:
    options = serve_options.deployment(settings(placement={"max_replicas_per_node": 1}))
    assert options["max_replicas_per_node"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"placement": {"bundles": [{"GPU": 1}], "max_replicas_per_node": 1}},
        {"autoscaling": {"min_replicas": 3, "max_replicas": 2}},
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_the_demo_needs_no_reserved_resources() -> None:
    assert serve_options.one_replica(settings()) == {}
