"""The console's frame: who gets in, whose forms count, what a role sees, what browsers are told."""

import re
from pathlib import Path
from typing import Any

import pytest

from serving import auth
from serving.console import app as console
from serving.console import pages
from serving.store import audit
from serving.store.database import Database
from tests.serving.gateway.browser import EVIL, Browser, signed_in
from tests.serving.gateway.conftest import Site
from tests.serving.store.sessions.test_sessions import pass_by

PAGES = ("desk", "review", "adapters", "flywheel", "quality", "operations")
MAY = {
    "service": {"desk", "operations"},
    "agent": {"desk", "operations"},
    "reviewer": {"review", "quality", "operations"},
    "trainer": {"adapters", "flywheel", "quality", "operations"},
    "admin": set(PAGES),
}


async def key_of(db: Database, role: str = "admin", **fields: Any) -> tuple[str, auth.ApiKey]:
    return await auth.create(db, name="Ann", roles=[role], lobs=["*"], **fields)


async def test_a_key_signs_in_and_the_browser_does_not_keep_it(site: Site) -> None:
    key, record = await key_of(site.db)
    browser = Browser(site.gateway)
    page = await browser.sign_in(key)
    assert (browser.status, browser.path) == (200, "/console/desk")
    assert "Ann" in page.text
    set_by = browser.answer.history[0].headers.get_list("set-cookie")
    (given,) = [one for one in set_by if one.startswith("sb_session=")]
    assert {"HttpOnly", "Path=/console", "SameSite=strict"} <= {*given.split("; ")}
    assert key not in str([*browser.http.cookies.jar]) + browser.answer.text
    (entry,) = await audit.of(site.db, "console")
    assert (entry.action, entry.key_id) == ("sign_in", record.id)


async def test_by_tls_the_cookie_goes_by_tls_only(site: Site) -> None:
    browser = Browser(site.gateway)
    browser.http.headers["x-forwarded-proto"] = "https"
    await browser.get("/sign-in")
    assert "Secure" in browser.answer.headers["set-cookie"]


async def test_a_wrong_key_is_refused_and_counted(site: Site) -> None:
    browser = Browser(site.gateway)
    page = await browser.sign_in("sb-" + "x" * 43)
    assert (browser.status, browser.path) == (401, "/console/sign-in")
    assert "unknown, expired or revoked" in page.text
    assert "sb_session" not in browser.http.cookies
    await site.key_ring.note_refused()
    assert [one.detail["unknown"] for one in await audit.of(site.db, "api")] == [1]


async def test_who_is_not_signed_in_is_asked_to_and_comes_back(site: Site) -> None:
    key, _ = await key_of(site.db)
    browser = Browser(site.gateway)
    page = await browser.get("/operations")
    assert browser.path == "/console/sign-in"
    await browser.post("/sign-in", page, key=key)
    assert (browser.status, browser.path) == (200, "/console/operations")


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/console/../v1", "/console//x", "", EVIL]
)
async def test_nobody_is_led_elsewhere_by_signing_in(site: Site, to: str) -> None:
    key, _ = await key_of(site.db)
    browser = Browser(site.gateway)
    page = await browser.get("/sign-in", next=to)
    assert not page.all("img")
    await browser.post("/sign-in", page, key=key)
    first = browser.answer.history[0]
    assert first.headers["location"] == "/console"


@pytest.mark.parametrize("fields", [{"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "ö"}])
async def test_a_form_without_its_token_does_nothing(site: Site, fields: dict[str, str]) -> None:
    browser = await signed_in(site, ["admin"])
    await browser.post("/sign-out", await browser.get("/operations"), **fields)
    assert browser.status == 403
    await browser.get("/operations")
    assert browser.path == "/console/operations"


async def test_signing_in_needs_the_forms_token_too(site: Site) -> None:
    key, _ = await key_of(site.db)
    browser = Browser(site.gateway)
    await browser.post("/sign-in", key=key)
    assert browser.status == 403
    assert "sb_session" not in browser.http.cookies


async def test_anothers_token_is_no_token(site: Site) -> None:
    ann, ben = [await signed_in(site, ["admin"]) for _ in range(2)]
    await ann.post("/sign-out", await ben.get("/operations"))
    assert ann.status == 403


async def test_a_form_from_another_site_does_nothing(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    page = await browser.get("/operations")
    browser.http.headers["sec-fetch-site"] = "cross-site"
    await browser.post("/sign-out", page)
    assert browser.status == 403


async def test_signing_out_ends_the_session_and_not_the_cookie_only(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    token = browser.http.cookies["sb_session"]
    await browser.post("/sign-out", await browser.get("/operations"))
    assert browser.path == "/console/sign-in"
    browser.http.cookies.set("sb_session", token)
    await browser.get("/operations")
    assert browser.path == "/console/sign-in"


async def test_a_session_ends_with_its_key(site: Site) -> None:
    key, record = await key_of(site.db)
    browser = Browser(site.gateway)
    await browser.sign_in(key)
    await auth.revoke(site.db, record.id)
    await site.key_ring.refresh()
    await browser.get("/operations")
    assert browser.path == "/console/sign-in"


async def test_a_session_ends_after_its_hours(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    await pass_by(site.db, site.settings.console.session_hours * 3600 + 1)
    await browser.get("/operations")
    assert browser.path == "/console/sign-in"


async def test_a_session_holds_on_every_replica(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    other_ring = auth.KeyRing(site.db, refresh_s=600)
    await other_ring.start()
    other = Browser(console.build(site.gateway, site.db, other_ring))
    other.http.cookies = browser.http.cookies
    page = await other.get("/operations")
    assert other.path == "/console/operations"
    await other.post("/sign-out", page)
    await browser.get("/operations")
    assert browser.path == "/console/sign-in"
    await other_ring.stop()


@pytest.mark.parametrize("role", list(MAY))
async def test_a_role_sees_its_pages_and_no_others(site: Site, role: str) -> None:
    browser = await signed_in(site, [role])
    page = await browser.get("")
    assert {f"/console/{one}" for one in PAGES} & page.links() == {
        f"/console/{one}" for one in MAY[role]
    }
    for one in PAGES:
        await browser.get(f"/{one}")
        assert browser.status == (200 if one in MAY[role] else 403), one


async def test_without_keys_whoever_comes_is_an_admin(site: Site) -> None:
    off = site.settings.auth.model_copy(update={"enabled": False})
    site.gateway.configure(site.settings.model_copy(update={"auth": off}), site.prompts)
    open_ = Browser(console.build(site.gateway, site.db, site.key_ring))
    page = await open_.get("/sign-in")
    assert not [one for one in page.all("input") if one.get("name") == "key"]
    page = await open_.post("/sign-in", page)
    assert {f"/console/{one}" for one in PAGES} <= page.links()
    # The session of no key is none where keys are on.
    closed = Browser(site.gateway)
    closed.http.cookies = open_.http.cookies
    await closed.get("/operations")
    assert closed.path == "/console/sign-in"


@pytest.mark.parametrize(
    "path", ["/sign-in", "/desk", "/review", "/adapters", "/operations", "/nowhere", "/static/no"]
)
async def test_browsers_are_told_to_run_nothing_else(site: Site, path: str) -> None:
    browser = await signed_in(site, ["admin"], name=EVIL)
    page = await browser.get(path)
    headers = browser.answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert page.all("script") == [{"src": "/console/static/console.js", "defer": None}]
    assert not page.all("img") + page.all("style")
    attributes = {name for _, found in page.tags for name in found}
    assert not {name for name in attributes if name.startswith("on") or name == "style"}
    if path.removeprefix("/") in PAGES:
        assert EVIL in page.text  # the key's name, as text


async def test_every_page_has_its_landmarks_and_labels(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    for path in ("/sign-in", *(f"/{one}" for one in PAGES)):
        page = await browser.get(path)
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("main")) == len(page.all("h1")) == len(page.all("header")) == 1
        labelled = {one.get("for") for one in page.all("label")}
        fields = [*page.all("input"), *page.all("textarea"), *page.all("select")]
        unlabelled = [
            one for one in fields if one.get("type") != "hidden" and one.get("id") not in labelled
        ]
        assert not unlabelled, path
        ids = [found["id"] for _, found in page.tags if "id" in found]
        assert len(ids) == len({*ids}), path


async def test_the_pages_are_light(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    sizes = 0
    for name in ("console.css", "console.js"):
        await browser.get(f"/static/{name}")
        assert browser.status == 200
        sizes += len(browser.answer.content)
    for path in PAGES:
        await browser.get(f"/{path}")
        assert sizes + len(browser.answer.content) < 300_000


async def test_of_the_package_only_the_static_files_are_served(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    for path in ("../english.json", "%2e%2e/english.json", "..%2fapp.py", ""):
        await browser.get(f"/static/{path}")
        assert browser.status in {404, 405}, path


async def test_a_form_that_is_too_long_or_unreadable_is_refused(site: Site) -> None:
    browser = await signed_in(site, ["admin"])
    for content, status in ((b"a=" + b"x" * 600_000, 413), (b"a=1&" * 50, 400), (b"\xff", 400)):
        answer = await browser.http.post("/console/sign-out", content=content)
        assert answer.status_code == status


async def test_a_replica_without_a_console_has_no_such_pages(site: Site) -> None:
    site.gateway.console = None
    async with await site.http(["admin"], ["*"]) as http:
        assert (await http.get("/console/desk")).status_code == 404


def test_every_text_is_there_and_the_script_writes_no_html() -> None:
    texts = pages.Pages().texts
    named = {
        name
        for path in (pages.HERE / "templates").glob("*.html")
        for name in re.findall(r'\bt\("([^"]+)"\)', path.read_text("utf-8"))
    }
    assert len(named) > 60
    assert named <= {*texts}
    script = (pages.HERE / "static" / "console.js").read_text("utf-8")
    assert {f"desk.js.{one}" for one in re.findall(r"\bwords\.(\w+)", script)} <= {*texts}
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_the_colours_have_the_contrast_that_wcag_aa_asks() -> None:
    style = (pages.HERE / "static" / "console.css").read_text("utf-8")
    for block in re.findall(r":root \{([^}]*)\}", style):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        fores, backs = ("text", "soft", "link", "alarm"), ("page", "panel")
        pairs = [(fore, back) for fore in fores for back in backs]
        for fore, back in [*pairs, ("on-main", "main"), ("text", "mark")]:
            assert contrast(colours[fore], colours[back]) >= 4.5, (fore, back)
        assert contrast(colours["line"], colours["page"]) >= 3


def contrast(one: str, two: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_the_files_of_the_pages_are_packaged() -> None:
    patterns = Path("pyproject.toml").read_text("utf-8")
    endings = {p.suffix for p in pages.HERE.rglob("*") if p.is_file() and "cache" not in str(p)}
    assert endings >= {".html", ".css", ".js", ".json"}
    assert not {ending for ending in endings - {".py"} if f'"*{ending}"' not in patterns}
