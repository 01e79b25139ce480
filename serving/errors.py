"""What can go wrong, and how a client sees it.

The tree, one sentence a class::

    SwitchboardError                500  Anything this package raises on purpose.
    ├── ConfigError                 500  The configuration file is wrong; all its faults are listed.
    ├── InvalidRequest              400  The request is malformed or names an impossible value.
    │   ├── BodyTooLarge            413  The request body exceeds the configured limit.
    │   ├── ContentFiltered         400  A guard of the line refused the request.
    │   │   └── HeldForReview       400  A guard of the line asks for a person's review.
    │   ├── MethodNotAllowed        405  The endpoint takes another method.
    │   ├── UpgradeRequired         426  The endpoint is a websocket.
    │   └── UnsupportedEncoding     415  The body is compressed in a way that is not read.
    ├── Unauthenticated             401  There is no API key, or it is unknown, expired or revoked.
    ├── PermissionDenied            403  The key's roles or LOBs do not cover this.
    ├── NotFound                    404  The named model, interaction or version does not exist.
    ├── Conflict                    409  The action contradicts the present state.
    │   └── Superseded              409  A newer request of the same turn took this one's place.
    ├── AdapterRefused              422  An adapter's files are corrupt, foreign or not servable.
    ├── RateLimited                 429  The key or the LOB sent more requests than its rate allows.
    │   └── Overloaded              429  Too many requests wait already.
    ├── RolloutFailed               502  A replica could not load a version; nothing was switched.
    ├── UpstreamFailed              502  An external upstream gave no usable answer.
    ├── Unavailable                 503  A part this needs is down for now; try again.
    │   ├── StoreUnavailable        503  The database does not answer.
    │   ├── GuardUnavailable        503  A guard that must decide failed, so nothing passes.
    │   └── JournalFull             503  The capture journal reached its size limit.
    └── DeadlineExceeded            504  The answer was not complete within the LOB's timeout.

`body` and `headers` are the one place that maps them to OpenAI's error shape and to HTTP.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class SwitchboardError(Exception):
    """Anything this package raises on purpose.

    Args:
        message: A sentence for the person who must act on it.
        param: The request field or configuration key at fault, if there is one.
        headers: Response headers that tell the client more, such as `retry-after`.
        reason: What happened, for whoever runs the server: it may name hosts, users and files, so
            it goes to logs and to the operator's screen, and never to a client.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.reason = reason

    def __str__(self) -> str:
        """What a log says."""
        return f"{self.message} ({self.reason})" if self.reason else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling between processes, which keyword-only arguments break."""
        return _rebuild, (type(self), self.message, self.param, self.headers, self.reason)


def _rebuild(
    cls: type[SwitchboardError],
    message: str,
    param: str | None,
    headers: Mapping[str, str],
    reason: str | None,
) -> SwitchboardError:
    return cls(message, param=param, headers=headers, reason=reason)


class ConfigError(SwitchboardError):
    """The configuration file is wrong; all its faults are listed."""

    code = "invalid_config"


class InvalidRequest(SwitchboardError):
    """The request is malformed or names an impossible value."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class BodyTooLarge(InvalidRequest):
    """The request body exceeds the configured limit."""

    status = 413
    code = "body_too_large"


class ContentFiltered(InvalidRequest):
    """A guard of the line refused the request."""

    code = "content_filter"  # Azure OpenAI's name for it


class HeldForReview(ContentFiltered):
    """A guard of the line asks for a person's review."""

    code = "content_review"


class MethodNotAllowed(InvalidRequest):
    """The endpoint takes another method."""

    status = 405
    code = "method_not_allowed"


class UpgradeRequired(InvalidRequest):
    """The endpoint is a websocket."""

    status = 426
    code = "upgrade_required"


class UnsupportedEncoding(InvalidRequest):
    """The body is compressed in a way that is not read."""

    status = 415
    code = "unsupported_encoding"


class Unauthenticated(SwitchboardError):
    """There is no API key, or it is unknown, expired or revoked."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(SwitchboardError):
    """The key's roles or LOBs do not cover this."""

    status = 403
    type = "permission_error"
    code = "permission_denied"


class NotFound(SwitchboardError):
    """The named model, interaction or version does not exist."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class Conflict(SwitchboardError):
    """The action contradicts the present state."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class Superseded(Conflict):
    """A newer request of the same turn took this one's place."""

    code = "superseded"


class AdapterRefused(SwitchboardError):
    """An adapter's files are corrupt, foreign or not servable."""

    status = 422
    type = "invalid_request_error"
    code = "adapter_refused"


class RateLimited(SwitchboardError):
    """The key or the LOB sent more requests than its rate allows."""

    status = 429
    type = "requests"  # OpenAI's name for it
    code = "rate_limit_exceeded"


class Overloaded(RateLimited):
    """Too many requests wait already."""

    code = "overloaded"


class RolloutFailed(SwitchboardError):
    """A replica could not load a version; nothing was switched."""

    status = 502
    code = "rollout_failed"


class UpstreamFailed(SwitchboardError):
    """An external upstream gave no usable answer."""

    status = 502
    code = "upstream_failed"


class Unavailable(SwitchboardError):
    """A part this needs is down for now; try again."""

    status = 503
    code = "unavailable"
    retry_after_s = 2


class StoreUnavailable(Unavailable):
    """The database does not answer."""

    code = "store_unavailable"
    retry_after_s = 5


class GuardUnavailable(Unavailable):
    """A guard that must decide failed, so nothing passes."""

    code = "guard_unavailable"


class JournalFull(Unavailable):
    """The capture journal reached its size limit."""

    code = "journal_full"


class DeadlineExceeded(SwitchboardError):
    """The answer was not complete within the LOB's timeout."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"


def body(error: SwitchboardError) -> dict[str, Any]:
    """Return the error in OpenAI's shape, ready for JSON."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def headers(error: SwitchboardError) -> dict[str, str]:
    """Return the headers that go with the error: how to authenticate, when to try again."""
    found = dict(error.headers)
    if error.status == 401:
        found["www-authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        found.setdefault("retry-after", str(error.retry_after_s))
    return found


def root_cause(message: str) -> str:
    """Our own error at the end of a replica's traceback, or the whole text if there is none."""
    _, found, cause = message.rpartition(f"{ConfigError.__module__}.{ConfigError.__name__}: ")
    return cause.strip() if found else message
