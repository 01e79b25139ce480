"""Sealed bytes: AES-256-GCM (NIST SP 800-38D) under a derived key, with that key's id in front.

A sealed text is one byte that no JSON begins with, the id's length and the id, a random nonce of 12
bytes, and the ciphertext with its tag of 16. With random nonces one key may seal 2**32 texts; a
deployment that nears that adds a key.
"""

import os
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.encryption.keyring import KeyMissing, Keyring

MARK = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16


class Sealer:
    """Seals with the newest key of a keyring, opens with whichever sealed.

    Args:
        keyring: The deployment's keys; None opens what is not sealed, and nothing else.
        purpose: What the keys are derived for.
    """

    def __init__(self, keyring: Keyring | None, purpose: str) -> None:
        self._keyring = keyring
        self._purpose = purpose
        self._ciphers: dict[str, AESGCM] = {}

    @cached_property
    def _newest(self) -> tuple[bytes, AESGCM]:
        if self._keyring is None:
            raise KeyMissing("A key is missing.", reason="storage.keys is not set")
        id_ = self._keyring.newest
        return MARK + bytes([len(id_)]) + id_.encode(), self._cipher(id_)

    def seal(self, plain: bytes, aad: bytes = b"") -> bytes:
        """Return `plain` sealed; `aad` is bound to it and must be given again to open it.

        Raises:
            KeyMissing: There are no keys.
        """
        front, cipher = self._newest
        nonce = os.urandom(NONCE_BYTES)
        return front + nonce + cipher.encrypt(nonce, plain, aad)

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Return what was sealed; bytes that are not sealed come back as they are.

        Raises:
            KeyMissing: The key is not there or is another, or the bytes or `aad` were changed.
        """
        if not sealed.startswith(MARK):
            return sealed
        end = 2 + sealed[1]
        id_ = sealed[2:end].decode("ascii", "replace")
        cipher = self._cipher(id_)
        nonce = sealed[end : end + NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[end + NONCE_BYTES :], aad)
        except (InvalidTag, ValueError):
            raise KeyMissing(
                "A key is not the right one.",
                reason=f"what {id_!r} sealed does not open with the key of this id in "
                "storage.keys: it is another key, or the bytes were changed",
            ) from None

    def _cipher(self, id_: str) -> AESGCM:
        if id_ not in self._ciphers:
            if self._keyring is None:
                raise KeyMissing(
                    "A key is missing.",
                    reason=f"storage.keys is not set, and the key {id_!r} is needed",
                )
            self._ciphers[id_] = AESGCM(self._keyring.derived(id_, self._purpose))
        return self._ciphers[id_]
