"""A browser without a screen: cookies, forms and links of the console's pages, what they hold."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import httpx

from serving import auth
from tests.serving.gateway.conftest import Site

EVIL = "<img src=x onerror=alert(1)></textarea></script><script>alert(2)</script>\"'><b>"
"""What must come out as text, wherever a page shows it."""


class Read(HTMLParser):
    """A page: its tags with their attributes, its text, its forms' fields."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def field(self, name: str) -> str:
        """What the page's first field of this name holds."""
        fields = [one for one in self.all("input") if one.get("name") == name]
        return fields[0].get("value") or ""

    def links(self) -> set[str]:
        return {unquote(one["href"] or "") for one in self.all("a") if "href" in one}


class Browser:
    """Goes to pages and sends their forms, as a person does.

    Args:
        app: What answers.
    """

    def __init__(self, app: Any) -> None:
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sb")
        self.answer: httpx.Response

    async def get(self, path: str, **query: str) -> Read:
        self.answer = await self.http.get(f"/console{path}", params=query, follow_redirects=True)
        return Read(self.answer.text)

    async def post(self, path: str, page: Read | None = None, **fields: str) -> Read:
        """Send a form: its hidden fields are those of `page`."""
        hidden = {
            one["name"] or "": one.get("value") or ""
            for one in (page.all("input") if page else [])
            if one.get("type") == "hidden"
        }
        self.answer = await self.http.post(
            f"/console{path}", data=hidden | fields, follow_redirects=True
        )
        return Read(self.answer.text)

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def path(self) -> str:
        """Where it ended after redirections."""
        return self.answer.url.path

    async def sign_in(self, key: str, **query: str) -> Read:
        return await self.post("/sign-in", await self.get("/sign-in", **query), key=key)


async def signed_in(
    site: Site, roles: list[str], lobs: list[str] | None = None, name: str = "Ann"
) -> Browser:
    """A browser whose user has signed in with a new key."""
    key, _ = await auth.create(site.db, name=name, roles=roles, lobs=lobs or ["*"])
    browser = Browser(site.gateway)
    await browser.sign_in(key)
    assert browser.status == 200, browser.answer.text
    return browser
