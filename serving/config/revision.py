"""A configuration as it is in force: settings, prompt texts, and a name by content.

What may change while the server runs, and at what price, is decided here, without I/O: some keys
never (they name what clients or the store rely on), some by one assignment in each replica, some
by the number of replicas, and every other one by restarting the replicas one by one.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from serving.config.settings import Settings

Price = Literal["fixed", "heavy", "scale", "light"]

# The longest prefix decides; what is not named here restarts replicas, which is always safe.
_PRICES: dict[str, Price] = {
    "served_name": "fixed",
    "http.host": "fixed",
    "http.port": "fixed",
    "http.proxy": "fixed",
    "http.proxy_on": "fixed",
    "store.url": "fixed",
    "journal.dir": "fixed",
    "adapters.uri": "fixed",
    "ray_address": "fixed",
    "replicas": "scale",
    "autoscaling": "scale",
    "rollouts.surge": "scale",
    "http.drain_s": "scale",
    "http.body_limit_bytes": "light",
    "rollouts": "light",
    "auth": "light",
    "lobs": "light",
    "limits": "light",
    "limits.priorities": "heavy",  # the queues of those who wait are made for them
    "fallback": "light",
    "prompts": "light",
}
_SECRET = re.compile(r"token|secret|passw|credential|(^|_)key$|api_key", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]*)@")
_ABSENT = object()


@dataclass(frozen=True)
class Revision:
    """Settings with the texts of the prompt files (path inside the folder to text)."""

    settings: Settings
    prompts: Mapping[str, str]
    applied_at: float = field(default_factory=time.time)

    @cached_property
    def hash(self) -> str:
        """A name by content, the same for the same configuration."""
        return _digest({"settings": _plain(self.settings), "prompts": dict(self.prompts)})

    @cached_property
    def heavy_hash(self) -> str:
        """A name by what a replica cannot change while it runs."""
        flat = {k: v for k, v in flatten(self.settings) if price(k) in {"heavy", "fixed"}}
        return _digest(flat)


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys that differ between two revisions, by what changing them takes."""

    fixed: tuple[str, ...] = ()
    heavy: tuple[str, ...] = ()
    scale: tuple[str, ...] = ()
    light: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """All of them."""
        return sorted((*self.fixed, *self.heavy, *self.scale, *self.light))


def price(key: str) -> Price:
    """What it takes to change a key, such as ``engine.max_num_seqs``, of a running server."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if found := _PRICES.get(".".join(parts[:length])):
            return found
    return "heavy"


def plan(old: Revision, new: Revision) -> Plan:
    """Say what leads from one revision to the other; prompts by content, not by folder."""
    before, after = dict(flatten(old.settings)), dict(flatten(new.settings))
    changed = [
        key
        for key in {**before, **after}
        if key != "prompts" and before.get(key, _ABSENT) != after.get(key, _ABSENT)
    ]
    changed += [
        f"prompts.{name}"
        for name in {**old.prompts, **new.prompts}
        if old.prompts.get(name) != new.prompts.get(name)
    ]
    by_price: dict[Price, list[str]] = {"fixed": [], "heavy": [], "scale": [], "light": []}
    for key in sorted(changed):
        by_price[price(key)].append(key)
    return Plan(**{name: tuple(keys) for name, keys in by_price.items()})


def light_part(own: Settings, new: Settings) -> Settings:
    """A replica's settings with all from `new` that may change while it runs."""
    return own.model_copy(
        update={
            "lobs": new.lobs,
            "limits": new.limits.model_copy(update={"priorities": own.limits.priorities}),
            "fallback": new.fallback,
            "auth": new.auth,
            "rollouts": new.rollouts,
            "http": own.http.model_copy(
                update={"body_limit_bytes": new.http.body_limit_bytes, "drain_s": new.http.drain_s}
            ),
        }
    )


def shown(settings: Settings) -> dict[str, Any]:
    """The settings for people's eyes: passwords, tokens and keys are masked."""
    masked: dict[str, Any] = _mask(_plain(settings), "")
    return masked


def flatten(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Dotted keys to values; an empty mapping has none."""
    return _flatten(_plain(settings), "")


def _flatten(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}.{name}" if key else str(name))
        if not value and key.startswith("lobs."):
            yield key, {}  # a line of business with nothing configured is still one
    else:
        yield key, value


def _mask(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: _mask(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_mask(item, name) for item in value]
    if isinstance(value, str):
        if value and _SECRET.search(name):
            return "***"
        return _USERINFO.sub(r"\1:***@", value)
    return value


def _plain(settings: Settings) -> dict[str, Any]:
    plain = settings.model_dump(mode="json")
    for name, upstream in settings.upstreams.items():
        if upstream.api_key is not None:  # a new key is a change, and stays unseen
            secret = upstream.api_key.get_secret_value().encode()
            plain["upstreams"][name]["api_key"] = hashlib.sha256(secret).hexdigest()
    return plain


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
