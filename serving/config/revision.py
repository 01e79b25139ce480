"""A configuration as it is in force: settings, prompt texts, and a name by content.

What may change while the server runs, and at what price, is decided here, without I/O: some keys
never (they name what clients or the store rely on), some by one assignment in each replica, some
by the number of replicas, and every other one by restarting the replicas one by one.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from serving.config import secrets
from serving.config.settings import Settings

Price = Literal["fixed", "heavy", "scale", "light"]

TUNABLE = (
    "async_scheduling",
    "block_size",
    "dtype",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_dtype",
    "kv_cache_memory_bytes",
    "long_prefill_token_threshold",
    "max_logprobs",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "pipeline_parallel_size",
    "seed",
    "stream_interval",
    "structured_outputs_config.backend",
    "tensor_parallel_size",
)
"""vLLM's arguments that are a number, a switch or a word of a list: none names code or a file."""

# The longest prefix decides. What is not named here changes only in the file on the machine: an
# admin's key is for running the server, and must not become a shell on it. So `model`, `env`,
# `auth` and what of `engine` could load code or read files are not here.
_PRICES: dict[str, Price] = {
    **dict.fromkeys((f"engine.{key}" for key in TUNABLE), "heavy"),
    "resources": "heavy",
    "placement": "heavy",
    "adapters.max_rank": "heavy",
    "adapters.max_active": "heavy",
    "adapters.max_cached": "heavy",
    "journal.batch_records": "heavy",
    "journal.batch_s": "heavy",
    "journal.fsync": "heavy",
    "journal.limit_bytes": "heavy",
    "files.max_bytes": "heavy",
    "files.quota_bytes": "heavy",
    "files.keep_days": "heavy",
    "fine_tuning": "heavy",
    "console": "heavy",
    "costs": "heavy",
    "upstreams": "heavy",
    "replicas": "scale",
    "autoscaling": "scale",
    "rollouts.surge": "scale",
    "http.drain_s": "scale",
    "http.body_limit_bytes": "light",
    "http.cors_origins": "light",
    "rollouts": "light",
    "lobs": "light",
    "limits": "light",
    "limits.priorities": "heavy",  # the queues of those who wait are made for them
    "fallback": "light",
    "prompts": "light",
}
_ABSENT = object()


@dataclass(frozen=True)
class Revision:
    """Settings with the texts of the prompt files (path inside the folder to text)."""

    settings: Settings
    prompts: Mapping[str, str]
    applied_at: float = field(default_factory=time.time)

    def dump(self) -> dict[str, Any]:
        """As plain JSON, for Ray's store; `load` reads it."""
        return {
            "settings": _plain(self.settings),
            "prompts": dict(self.prompts),
            "applied_at": self.applied_at,
        }

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> "Revision":
        """What `dump` gave."""
        settings = Settings.model_validate(kept["settings"])
        return cls(settings, kept["prompts"], kept["applied_at"])

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
    return "fixed"


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
        by_price[_price(key, before, after)].append(key)
    return Plan(**{name: tuple(keys) for name, keys in by_price.items()})


def _price(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Price:
    """The price of a change; where a secret goes is the file's to say, as is which it is."""
    section, _, rest = key.partition(".")
    name, _, field_ = rest.partition(".")
    if section == "upstreams" and field_ in {"url", "api_key"}:
        its_key = f"upstreams.{name}.api_key"
        if before.get(its_key) is not None or after.get(its_key) is not None:
            return "fixed"
    if rest.endswith((".reviews.webhook.url", ".reviews.webhook.secret")) and after.get(key):
        return "fixed"
    if rest.endswith(".rules") and _told(before.get(key)) != _told(after.get(key)):
        return "fixed"
    return price(key)


def _told(rules: Any) -> list[tuple[str, str]]:
    """Return which secrets a line's rules tell to whom."""
    hooks = [rule.get("webhook") or {} for rule in rules or ()]
    return sorted((hook["api_key"], hook["url"]) for hook in hooks if hook.get("api_key"))


def light_part(own: Settings, new: Settings) -> Settings:
    """A replica's settings with all from `new` that may change while it runs."""
    return own.model_copy(
        update={
            "lobs": new.lobs,
            "limits": new.limits.model_copy(update={"priorities": own.limits.priorities}),
            "fallback": new.fallback,
            "rollouts": new.rollouts,
            "http": own.http.model_copy(
                update={
                    "body_limit_bytes": new.http.body_limit_bytes,
                    "cors_origins": new.http.cors_origins,
                    "drain_s": new.http.drain_s,
                }
            ),
        }
    )


def shown(settings: Settings) -> dict[str, Any]:
    """The settings for people's eyes.

    Secrets are names in it already. A value of `env` may be one that nobody took for a secret.
    """
    masked: dict[str, Any] = secrets.masked(_plain(settings))
    masked["env"] = {
        name: value if secrets.has_reference(value) else secrets.HIDDEN
        for name, value in masked["env"].items()
    }
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


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
