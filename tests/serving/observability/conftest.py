"""A replica without its engine, as the gateway's tests have it."""

from tests.serving.gateway.conftest import site, tracing

__all__ = ["site", "tracing"]
