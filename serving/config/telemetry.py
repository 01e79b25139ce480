"""What the server tells about itself: traces and the form of its log."""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from serving.config.base import Section
from serving.config.lobs import Lob
from serving.config.secrets import Address


class Telemetry(Section):
    """Traces by OpenTelemetry, and logs."""

    otlp_endpoint: Address | None = Field(
        None,
        description="Base URL of an OpenTelemetry collector, such as http://127.0.0.1:4318: spans "
        "go to its /v1/traces (OTLP over HTTP). None: nothing is traced.",
    )
    sample: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of traces that begin here; whoever sends a traceparent decides of "
        "theirs.",
    )
    texts: bool = Field(
        False,
        description="Put requests and answers into spans, as they are; not with a line's "
        "store.redact.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of the log: json is one object a line, without texts and keys."
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_base_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ValueError("use http://host:4318, the collector's address for OTLP over HTTP")
        if parts.path.rstrip("/").endswith("/v1/traces"):
            raise ValueError("leave /v1/traces out: it is added")
        return url.rstrip("/")

    def check_texts(self, lobs: Mapping[str, Lob]) -> None:
        """Refuse texts in spans where a line's are redacted before anything is stored.

        Raises:
            ValueError: They would leave as they are.
        """
        redacted = [f"lobs.{name}.store.redact" for name, lob in lobs.items() if lob.store.redact]
        if self.texts and redacted:
            raise ValueError(f"texts: spans are not redacted, which {', '.join(redacted)} asks for")

    @property
    def traces_url(self) -> str | None:
        """Where spans go; None where nothing is traced."""
        return None if self.otlp_endpoint is None else f"{self.otlp_endpoint}/v1/traces"
