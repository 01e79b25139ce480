"""Secrets: named in the configuration, and read only where they are used.

The configuration travels between processes, is hashed, is kept in Ray's store and is shown to
admins. So it holds a secret's name, ``${NAME}`` for an environment variable or
``${file:/run/secrets/name}`` for a file, and whoever uses the secret resolves it: the process that
opens the database, the client of an upstream, the engine. What is typed in where a secret belongs
is refused, without repeating it.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from serving.errors import ConfigError

LITERAL = "literal_secret"
"""The type of pydantic's fault for a secret that is typed in; nobody shows its value."""
LIMIT_BYTES = 64 << 10
"""The longest secret in a file."""
HIDDEN = "***"

_REFERENCE = re.compile(r"\$\{(?:file:([^}]+)|([A-Za-z_][A-Za-z0-9_]*))\}")
_USERINFO = re.compile(r"(?<=://)([^:\s]*):(\S*)@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:passw|secret|token|key)[^=&\s]*=)([^&\s]+)", re.IGNORECASE)
_NAME = re.compile(
    r"(^|[_.])(token|secret|passw(or)?d|pass|pw|credentials?|(api|access|secret)?_?key)s?$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KEYS = re.compile(
    r"store\.url|(env|alerts)\..*|engine\.hf_token|upstreams\.[^.]*\.api_key"
    r"|lobs\.[^.]*\.(rules\[\d+\]\.webhook\.api_key|reviews\.webhook\..*)"
)
"""What `expand` leaves as it is: it is resolved where it is used."""
_LIKE_A_NAME = re.compile(r"token|secret|passw|cred|key", re.IGNORECASE)
_FIX = "write ${NAME} for an environment variable, or ${file:/run/secrets/name}"


def expand(value: Any, key: str = "") -> Any:
    """Put environment variables into all of a configuration but where secrets belong.

    Args:
        value: What the file holds, or a part of it.
        key: Which part, such as ``http.host``.

    Raises:
        ConfigError: A variable is not set.
    """
    if isinstance(value, dict):
        return {k: expand(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [expand(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str) and not _KEYS.fullmatch(key):
        for name in _VARIABLE.findall(value):
            if name not in os.environ:
                raise ConfigError(f"{key}: the environment variable {name} is not set.", param=key)
        return _VARIABLE.sub(lambda found: os.environ[found[1]], value)
    return value


def is_reference(text: str) -> bool:
    """Whether a text is one secret's name and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def has_reference(text: str) -> bool:
    """Whether a text names a secret anywhere."""
    return _REFERENCE.search(text) is not None


def is_secret_name(name: str) -> bool:
    """Whether a key or a variable of this name holds a secret, such as ``HF_TOKEN``."""
    return _NAME.search(name) is not None


def has_literal(text: str) -> bool:
    """Whether a password is typed into an address."""
    found = [match[2] for pattern in (_USERINFO, _QUERY) for match in pattern.finditer(text)]
    return any(not is_reference(password) for password in found)


def resolve(text: str, key: str, *, encode: Callable[[str], str] = str) -> str:
    """Put secrets in the places of their names.

    Args:
        text: A value of the configuration.
        key: Its key, for errors.
        encode: What each secret becomes before it is put in.

    Raises:
        ConfigError: A variable is not set, or a file cannot be read.
    """
    return _REFERENCE.sub(lambda found: encode(_read(found[1], found[2], key)), text)


def resolve_url(url: str, key: str) -> str:
    """`resolve` for an address: what stands for user or password may hold any character.

    Raises:
        ConfigError: As `resolve`.
    """
    before, at, after = url.rpartition("@")
    quoted = resolve(before, key, encode=lambda secret: quote(secret, safe=""))
    return quoted + at + resolve(after, key)


def resolve_all(values: Mapping[str, str], key: str) -> dict[str, str]:
    """`resolve` for each of several values below a key."""
    return {name: resolve(value, f"{key}.{name}") for name, value in values.items()}


def masked(value: Any, name: str = "") -> Any:
    """A part of the configuration for people's eyes: names of secrets stay, secrets do not."""
    if isinstance(value, dict):
        return {k: masked(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    if value and is_secret_name(name):
        return HIDDEN
    return _QUERY.sub(_hide(rf"\1{HIDDEN}"), _USERINFO.sub(_hide(rf"\1:{HIDDEN}@"), value))


def in_a_fault(key: str, value: Any) -> Any:
    """A faulty value for people's eyes; a misspelt key may have been meant to hold a secret."""
    return HIDDEN if _LIKE_A_NAME.search(key) else masked(value)


def _hide(template: str) -> Callable[[re.Match[str]], str]:
    return lambda found: found[0] if is_reference(found[2]) else found.expand(template)


def _read(file: str | None, name: str | None, key: str) -> str:
    if name is not None:
        if name not in os.environ:
            raise ConfigError(f"{key}: the environment variable {name} is not set.", param=key)
        return os.environ[name]
    try:
        with Path(file or "").open(encoding="utf-8") as opened:
            return opened.read(LIMIT_BYTES).removesuffix("\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{key}: the file {file} cannot be read: {reason}.", param=key) from exc


def refused(what: str) -> PydanticCustomError:
    """The fault of a secret that is typed in."""
    return PydanticCustomError(LITERAL, "{what} is typed in: {fix}", {"what": what, "fix": _FIX})


def _named(text: str) -> str:
    if not is_reference(text):
        raise refused("a secret")
    return text


def _without_password(url: str) -> str:
    if has_literal(url):
        raise refused("a password")
    return url


SecretName = Annotated[str, AfterValidator(_named)]
"""A secret's name: ``${NAME}`` or ``${file:/path}``."""
Address = Annotated[str, AfterValidator(_without_password)]
"""A URL whose password, if it has one, is a secret's name."""
