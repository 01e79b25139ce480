"""Starts ray.serve.llm as its documentation does, and stays: a target of the serving benchmark.

    python benchmarks/serving/ray_llm.py '{"model": …, "name": …, "engine": {…}, …}'

A process of its own, because Ray Serve reads its switches (HAProxy, direct streaming) from the
environment when it is imported.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.llm import LLMConfig, build_openai_app


def start(options: dict[str, Any]) -> None:
    """Start Ray, one replica and the OpenAI app; returns when the app is deployed.

    Args:
        options: ``model`` (folder), ``name`` (what clients ask for), ``engine`` (vLLM's
            arguments), ``environment`` (of the replica), ``port``.
    """
    ray.init(address="local", log_to_driver=False, configure_logging=False)
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=options["port"]),
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    config = LLMConfig(
        model_loading_config={"model_id": options["name"], "model_source": options["model"]},
        engine_kwargs=options["engine"],
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundles": [{"CPU": 0.01}]},  # reserves no core, as for the others
        runtime_env={"env_vars": options["environment"]},
        deployment_config={
            "num_replicas": 1,
            "ray_actor_options": {"num_cpus": 0.01},
            "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
        },
        log_engine_metrics=True,
    )
    serve.run(build_openai_app({"llm_configs": [config]}), route_prefix="/")


def main() -> None:
    """Start, and stop gracefully on SIGTERM."""
    stop = threading.Event()
    start(json.loads(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
