"""The keys of the deployment: several with ids, of which the newest seals and all open.

What is used is never such a key itself but one derived from it for a purpose (HKDF-SHA256, RFC
5869), so that surrogates, originals and journals cannot be taken for one another.
"""

import base64
import binascii
import re
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serving.config.storage import StorageKeys
from serving.errors import ConfigError, Unavailable

KEY_BYTES = 32
COMMAND_TIMEOUT_S = 30
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PARAM = "storage.keys"


class KeyMissing(Unavailable):
    """A key that something was sealed with is not among those of `storage.keys`, or is another."""


@dataclass(frozen=True)
class Keyring:
    """Keys by their ids, oldest first.

    Args:
        keys: 32 bytes each; not shown by `repr`.
    """

    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return next(reversed(list(self.keys)))

    def derived(self, id_: str, purpose: str) -> bytes:
        """Return the key of 32 bytes for one purpose.

        Raises:
            KeyMissing: There is no key of this id.
        """
        if id_ not in self.keys:
            raise KeyMissing(
                "A key is missing.",
                reason=f"storage.keys has no key {id_!r}; it has {', '.join(self.keys)}. Put the "
                "old key back before the others",
            )
        return HKDF(SHA256(), KEY_BYTES, None, f"switchboard {purpose}".encode()).derive(
            self.keys[id_]
        )


def new_line(id_: str) -> str:
    """Return a line for the file of keys, with a fresh key.

    Raises:
        ConfigError: The id cannot be one.
    """
    if not _ID.fullmatch(id_):
        raise ConfigError(f"{id_!r} cannot name a key: use letters, digits, _ . -", param=_PARAM)
    return f"{id_}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def parse(text: str) -> Keyring:
    """Read keys, a line each; empty lines and those that begin with # are left out.

    Raises:
        ConfigError: There is none, or a line is no key; no line is repeated.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        id_, _, encoded = line.partition(":")
        try:
            key = base64.b64decode(encoded.strip(), validate=True)
        except binascii.Error:
            key = b""
        if not _ID.fullmatch(id_) or len(key) != KEY_BYTES:
            raise ConfigError(
                f"{_PARAM}: line {number} is not an id, a colon and the base64 of {KEY_BYTES} "
                "bytes. `switchboard vault new-key ID` prints such a line.",
                param=_PARAM,
            )
        if id_ in keys:
            raise ConfigError(f"{_PARAM}: the id {id_} is there twice.", param=_PARAM)
        keys[id_] = key
    if not keys:
        raise ConfigError(
            f"{_PARAM}: there is no key. `switchboard vault new-key ID` prints one.", param=_PARAM
        )
    return Keyring(keys)


def read(source: StorageKeys) -> Keyring:
    """Read the keys from where the configuration says.

    Raises:
        ConfigError: They cannot be read.
    """
    if source.file is not None:
        return parse(_file(source.file))
    try:
        done = subprocess.run(
            source.command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = getattr(exc, "strerror", None) or f"it did not end in {COMMAND_TIMEOUT_S} s"
        raise ConfigError(
            f"{_PARAM}.command: {source.command[0]}: {reason}.", param=_PARAM
        ) from None
    if done.returncode:
        raise ConfigError(
            f"{_PARAM}.command: {source.command[0]} ended with {done.returncode}.", param=_PARAM
        )
    return parse(done.stdout.decode("utf-8", "replace"))


def _file(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{_PARAM}.file: {path}: {reason}.", param=_PARAM) from None
