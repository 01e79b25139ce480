"""HTML from templates; whatever is put into one is escaped."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from serving import endpoints
from serving.auth import ApiKey, Role
from serving.console.sessions import Visitor

HERE = Path(__file__).parent
ROLES: dict[str, tuple[Role, ...]] = {
    "desk": (Role.AGENT, Role.SERVICE),
    "review": (Role.REVIEWER,),
    "adapters": (Role.TRAINER,),
    "flywheel": (Role.TRAINER,),
    "quality": (Role.TRAINER, Role.REVIEWER),
    "operations": tuple(Role),
}
"""Who may see which page; an admin all."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",  # no-referrer would have forms say that they come from "null"
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def allowed(key: ApiKey) -> list[str]:
    """Return the pages that a key may see, in the order of the menu."""
    return [name for name, roles in ROLES.items() if any(key.allows(role) for role in roles)]


class Pages:
    """Renders the pages; their texts are in english.json."""

    def __init__(self) -> None:
        self.texts: Mapping[str, str] = json.loads((HERE / "english.json").read_text("utf-8"))
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"t": self.texts.__getitem__, "root": endpoints.CONSOLE}
        self._templates.filters["when"] = when

    def show(
        self, name: str, visitor: Visitor | None, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a page.

        Args:
            name: The template's, without its ending.
            visitor: Who sees it.
            status: Of the response.
            values: What the template takes.
        """
        menu = allowed(visitor.key) if visitor is not None else []
        html = self._templates.get_template(f"{name}.html").render(
            visitor=visitor, menu=menu, here=name, **values
        )
        return HTMLResponse(html, status, {"cache-control": "no-store"})


def when(at: float | None) -> str:
    """Say a time, in seconds since the epoch, for people; UTC."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
