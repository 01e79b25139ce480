"""Pages of other origins, whose browsers ask before they call (Fetch standard, CORS protocol)."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware

from serving.asgi import App


def opened(app: App, origins: Sequence[str]) -> App:
    """Return what answers pages of these origins, too; `app` itself where there are none."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=[
            "x-switchboard-version",
            "x-switchboard-queue-ms",
            "x-switchboard-show",
            "x-switchboard-guard",
            "x-switchboard-review",
            "retry-after",
        ],
    )
