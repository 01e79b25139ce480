"""Ray Serve's options for a configuration: how many replicas, where, and how they stop.

Pure, so that it is tested without Ray; deployment.py hands the result to Serve.
"""

import math
from typing import Any

from serving.config import secrets
from serving.config.settings import Settings
from serving.engine import hardware, sizing

STOP_S = 15.0
"""What a replica gets after its requests: moving captures to the store, ending the engine."""


def deployment(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `Deployment.options`."""
    return {
        "max_ongoing_requests": 100_000,  # our own limits apply, not Serve's
        "health_check_period_s": 2,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": settings.http.drain_s + STOP_S,
        "max_surge_percent": 1 if settings.rollouts.surge else 0,  # Serve rounds up: one replica
        "ray_actor_options": _actor(settings),
        **_count(settings),
        **_placement(settings),
    }


def fewest(settings: Settings) -> int:
    """How many replicas run at least."""
    scaling = settings.autoscaling
    return scaling.min_replicas if scaling.max_replicas else settings.replicas


def one_replica(settings: Settings) -> dict[str, float]:
    """The Ray resources that one replica holds, summed over its bundles."""
    total: dict[str, float] = {}
    bundles = settings.placement.bundles
    if not bundles:
        actor = _actor(settings)
        bundles = [{"CPU": actor["num_cpus"], "GPU": actor["num_gpus"], **actor["resources"]}]
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return {name: amount for name, amount in total.items() if amount}


def missing(settings: Settings, available: dict[str, float]) -> list[str]:
    """What one more replica would lack, such as ``GPU: 1 needed, 0 free``."""
    return [
        f"{name}: {amount:g} needed, {available.get(name, 0.0):g} free"
        for name, amount in one_replica(settings).items()
        if available.get(name, 0.0) < amount
    ]


def haproxy_hard_stop_s(settings: Settings) -> int:
    """How long a replaced HAProxy worker keeps its streams: longer than any replica does."""
    return math.ceil(max(600.0, settings.http.drain_s + 2 * STOP_S))


def _actor(settings: Settings) -> dict[str, Any]:
    resources = dict(settings.resources)
    # The engine for GPUs takes as many as it is told to spread over. In bundles they are listed.
    own = 0 if hardware.built_for_cpu() or settings.placement.bundles else sizing.gpus(settings)
    return {
        "num_cpus": resources.pop("num_cpus", 0),
        "num_gpus": resources.pop("num_gpus", own),
        "resources": resources,
        # Ray writes these to its logs; what names a secret is set inside the replica.
        "runtime_env": {
            "env_vars": {k: v for k, v in settings.env.items() if not secrets.has_reference(v)}
        },
    }


def _count(settings: Settings) -> dict[str, Any]:
    scaling = settings.autoscaling
    if not scaling.max_replicas:
        return {"num_replicas": settings.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": scaling.target_ongoing_requests,
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
        }
    }


def _placement(settings: Settings) -> dict[str, Any]:
    placement = settings.placement
    if placement.bundles:
        return {
            "placement_group_bundles": [dict(bundle) for bundle in placement.bundles],
            "placement_group_strategy": placement.strategy,
        }
    if placement.max_replicas_per_node is not None:
        return {"max_replicas_per_node": placement.max_replicas_per_node}
    return {}
