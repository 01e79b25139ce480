"""vLLM's environment variables, which it would read anew at each use.

`vllm.envs` is a module whose attributes are read from `os.environ`, and parsed, each time. vLLM's
engine core keeps them once it has started; the process of the OpenAI app, the replica's, does not.
"""

import logging
import os
from collections.abc import Callable

from vllm import envs

logger = logging.getLogger(__name__)


def keep() -> Callable[[], None]:
    """Have vLLM keep what it has read, in this process; for when no variable changes any more.

    A vLLM that cannot reads them as before, which costs microseconds and is said in the log.

    Returns:
        What undoes it.
    """
    try:
        keep_all: Callable[[], None] = envs.enable_envs_cache
        forget_all: Callable[[], None] = envs.disable_envs_cache
    except AttributeError:
        logger.warning("This vLLM reads its environment variables anew at each use.")
        return lambda: None
    keep_all()
    return forget_all


def trace_requests(endpoint: str | None) -> None:
    """Have vLLM, here and in its processes, trace the requests whose callers do, over HTTP.

    Without the sampler each probe of readiness would begin a trace.
    """
    if endpoint is not None:
        os.environ.setdefault("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        os.environ.setdefault("OTEL_TRACES_SAMPLER", "parentbased_always_off")
