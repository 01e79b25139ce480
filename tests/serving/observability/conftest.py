"""A replica without its engine, as the gateway's tests have it."""

from tests.serving.gateway.conftest import sections, site, tracing

__all__ = ["sections", "site", "tracing"]
