"""Who is signed in: a cookie with a session's token, and the token that each form carries.

The cookie never holds the key. A session ends with its key's revocation or expiry, since the key is
looked up in memory on each request, and after some hours. Forms carry an HMAC of the session's
token (OWASP's Cross-Site Request Forgery Prevention Cheat Sheet, HMAC-based tokens), which other
sites cannot know; a browser that says that a form comes from elsewhere is believed.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from serving import endpoints
from serving.auth import ApiKey, KeyRing
from serving.errors import PermissionDenied, Unauthenticated
from serving.store.database import Database
from serving.store.sessions import sessions

COOKIE = "sb_session"
FORM_COOKIE = "sb_form"  # of the form for signing in, where there is no session yet
FIELD = "csrf"
HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in.

    Args:
        key: Whose rights they have.
        token: Of their session.
    """

    key: ApiKey
    token: str

    @property
    def csrf(self) -> str:
        """What their forms carry."""
        return csrf(self.token)


def csrf(token: str) -> str:
    """Return the token of forms that belongs to a session's token."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"form", hashlib.sha256).hexdigest()


def check_form(request: Request, token: str, given: str) -> None:
    """Refuse a form that is not one of ours, filled in by whoever has this cookie.

    Args:
        request: Its headers may say where it comes from.
        token: The cookie's.
        given: What the form carries.

    Raises:
        PermissionDenied: It is not.
    """
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    right = hmac.compare_digest(csrf(token).encode(), given.encode("utf-8", "surrogatepass"))
    if elsewhere or not token or not right:
        raise PermissionDenied("The form is out of date. Go back, load the page anew, try again.")


class Sessions:
    """Signs people in and out.

    Args:
        db: The store.
        keys: The keys in force.
        enabled: Whether keys are asked for (`auth.enabled`).
        lasts_s: How long a session lasts, in seconds.
    """

    def __init__(self, db: Database, keys: KeyRing, *, enabled: bool, lasts_s: float) -> None:
        self._db = db
        self._keys = keys
        self.enabled = enabled
        self._lasts_s = lasts_s

    async def visitor(self, request: Request) -> Visitor | None:
        """Return who is signed in, or None.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        token = request.cookies.get(COOKIE, "")
        key_id = await sessions.key_of(self._db, token) if token else None
        if key_id is None:
            return None
        if not key_id:
            return None if self.enabled else Visitor(ApiKey.anonymous(), token)
        key = self._keys.of_id(key_id)
        return None if key is None else Visitor(key, token)

    async def sign_in(self, plaintext: str) -> str:
        """Begin the session of a key; returns its token.

        Raises:
            Unauthenticated: The key is unknown, expired or revoked.
            StoreUnavailable: The store does not answer.
        """
        if not self.enabled:
            return await sessions.begin(self._db, "", self._lasts_s)
        key = self._keys.lookup(plaintext) or await self._keys.find(plaintext)
        if key is None:
            self._keys.refuse("unknown")
            raise Unauthenticated("The API key is unknown, expired or revoked.")
        return await sessions.begin(self._db, key.id, self._lasts_s)

    async def sign_out(self, token: str) -> None:
        """End a session on every replica."""
        await sessions.end(self._db, token)


def give(response: Response, request: Request, name: str, token: str = "") -> str:
    """Have the browser keep a token for the console only, out of reach of scripts and other sites.

    Args:
        response: Brings it.
        request: Says whether it came by TLS: then the cookie goes by TLS only.
        name: The cookie's.
        token: The token; "" draws one.

    Returns:
        The token.
    """
    token = token or secrets.token_urlsafe(32)
    forwarded = request.headers.get("x-forwarded-proto", "")
    response.set_cookie(
        name,
        token,
        path=endpoints.CONSOLE,
        secure="https" in {request.url.scheme, forwarded},
        httponly=True,
        samesite="strict",
    )
    return token


def take(response: Response, name: str) -> None:
    """Have the browser forget a cookie."""
    response.delete_cookie(name, path=endpoints.CONSOLE, httponly=True, samesite="strict")
