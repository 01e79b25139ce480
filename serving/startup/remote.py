"""How commands ask a running server."""

import os
from typing import Annotated, Any

import typer

from serving.errors import SwitchboardError

Url = Annotated[
    str, typer.Option(envvar="SWITCHBOARD_URL", help="Address of the server, without /v1.")
]
DEFAULT_URL = "http://127.0.0.1:8000"


def call(method: str, url: str, path: str, **options: Any) -> Any:
    """Return the JSON of a server's answer, asked with the key SWITCHBOARD_API_KEY.

    Raises:
        SwitchboardError: No server answers, or it refuses; says why.
    """
    import httpx  # dear to import, and most commands need no server

    key = os.environ.get("SWITCHBOARD_API_KEY", "")
    try:
        answer = httpx.request(
            method, url + path, headers={"Authorization": f"Bearer {key}"}, timeout=300, **options
        )
    except httpx.TransportError as exc:
        raise SwitchboardError(f"No server answers on {url}: {exc}") from exc
    if not answer.is_success:  # a redirection too: a key goes where it was meant to go
        hint = "" if key else " (SWITCHBOARD_API_KEY is not set)"
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text
        raise SwitchboardError(f"{answer.status_code}: {message}{hint}")
    return answer.json()
