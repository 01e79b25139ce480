"""The sections of the configuration that say where the server listens and keeps things."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from serving.config.base import Section
from serving.config.secrets import Address


def _cidr(text: str) -> str:
    return str(ipaddress.ip_network(text))


Cidr = Annotated[str, AfterValidator(_cidr)]


class Tls(Section):
    """The certificate that the listener answers with."""

    certificate: Path = Field(description="PEM file: the certificate, then its chain.")
    key: Path = Field(description="PEM file: the certificate's key, without a password.")


class Http(Section):
    """Where the server listens."""

    host: str = Field(
        "0.0.0.0",  # noqa: S104 - a server; authentication is on by default
        description="Address to listen on. All else of a server of one machine is on loopback.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the OpenAI-compatible endpoint.")
    tls: Tls | None = Field(
        None, description="Certificate and key of the listener. None: plain HTTP, for a proxy."
    )
    proxy: Literal["haproxy", "python"] = Field(
        "haproxy", description="Front proxy: HAProxy (fast) or Ray Serve's Python proxy."
    )
    affinity: bool = Field(
        True,
        description=(
            "Send the requests of a conversation (header x-conversation-id, or a task's "
            "conversation_id) to one replica, which holds its prefix in the KV cache. HAProxy only."
        ),
    )
    affinity_load_percent: int = Field(
        150,
        gt=100,
        description="Most requests a replica may hold, in percent of the mean, before affinity "
        "yields and a conversation goes to the next replica.",
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may call the server from a browser, such as "
        "https://desk.example; empty: none.",
    )
    body_limit_bytes: int = Field(
        4 << 20,
        ge=1024,
        description="Larger request bodies, also once decoded, are answered with 413.",
    )
    drain_s: float = Field(
        20.0,
        gt=0,
        description="Longest that a stopping replica lets requests in flight go on.",
    )
    trusted_proxies: list[Cidr] = Field(
        default_factory=list,
        description="Networks of load balancers in front, such as 10.0.0.0/8, whose "
        "X-Forwarded-For says where a request comes from; for alerts.new_network.",
    )
    proxy_on: Literal["every_node", "head"] = Field(
        "every_node",
        description="Which nodes of a cluster listen: all that hold replicas, or the head only.",
    )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class StoreSettings(Section):
    """Where interactions, feedback, versions and audit live."""

    url: Address = Field(
        "sqlite:///data/switchboard.sqlite",
        description="sqlite:///path or postgresql://user:${PASSWORD}@host/database; the password "
        "is a secret's name, or the whole URL is.",
    )
    encrypt: bool = Field(
        False,
        description="Encrypt SQLite's file and its log (SQLCipher); needs storage.keys and the "
        "extra `sqlcipher`. A file that is there already: `switchboard vault encrypt-store`.",
    )

    @model_validator(mode="after")
    def _only_files(self) -> "StoreSettings":
        if self.encrypt and not self.url.startswith("sqlite:"):
            raise ValueError("encrypt: is for sqlite:///file; PostgreSQL's disk is its own matter")
        return self


class Journal(Section):
    """The local capture log that makes a response durable before its last byte."""

    dir: Path = Field(Path("data/journal"), description="Folder, on a disk local to the replica.")
    fsync: Literal["background", "commit"] = Field(
        "background",
        description=(
            "background: a response survives kill -9 at once and a power cut after 50 ms; "
            "commit: the last byte waits for a group fdatasync."
        ),
    )
    encrypt: bool = Field(
        False,
        description="Encrypt what is journalled (AES-256-GCM); needs storage.keys. What is there "
        "already is read all the same.",
    )
    limit_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Backlog at which capture raises the alarm."
    )
    batch_records: int = Field(
        64,
        ge=1,
        le=1024,
        description="Interactions that are moved to the store without further wait, and at most at "
        "once.",
    )
    batch_s: float = Field(
        1.0,
        ge=0,
        le=2,
        description="Longest that an interaction waits in the journal for others, to be moved to "
        "the store in one transaction. Who asks the same replica for it has it moved at once.",
    )


class AdapterSettings(Section):
    """The adapter registry's artifacts."""

    uri: Address = Field(
        "data/adapters",
        description="Folder or any fsspec URL (s3://…, gs://…), without a password.",
    )
    cache_dir: Path = Field(
        Path("data/adapter-cache"), description="Local copies of adapters from remote URLs."
    )
    max_rank: int = Field(16, ge=1, le=512, description="Largest LoRA rank that is served.")
    max_active: int = Field(
        4, ge=1, description="LoRA slots: adapters that one batch may mix (vLLM's max_loras)."
    )
    max_cached: int = Field(
        32, ge=1, description="Adapters kept in host memory (vLLM's max_cpu_loras)."
    )


class FileSettings(Section):
    """Files that clients upload and batches write."""

    uri: Address = Field(
        "data/files",
        description="Folder or any fsspec URL (s3://…, gs://…), without a password. In a cluster "
        "every node must see it: a URL, or a shared folder.",
    )
    max_bytes: int = Field(200 << 20, ge=1024, description="Larger files are answered with 413.")
    quota_bytes: int = Field(
        10 << 30,
        ge=1024,
        description="What all files of one key may take together; what batches write counts and "
        "is never refused.",
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36500,
        description="Days until a file goes, uploaded or written by a batch; one that a batch "
        "still reads stays until that ends. null keeps.",
    )


class FineTuning(Section):
    """Fine-tuning jobs that are asked for over the API."""

    max_unfinished: int = Field(
        16, ge=1, description="Jobs of one key that may be unfinished; one more is 429."
    )
    priorities: dict[str, int] = Field(
        default_factory=dict,
        description="Priority of a key's jobs, by the key's name: lower first, default 0.",
    )


class Auth(Section):
    """API keys."""

    enabled: bool = Field(True, description="Off only where http.host is a loopback address.")
    metrics_public: bool = Field(False, description="Serve /metrics without a key.")


class Console(Section):
    """The pages for people, at /console."""

    enabled: bool = Field(True, description="Answer at /console; nobody gets in without a key.")
    session_hours: float = Field(
        8.0, gt=0, le=168, description="Hours after which one has to sign in again."
    )


class Costs(Section):
    """What running the deployment costs."""

    per_hour: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="What all its machines cost an hour together, on average; null: not known.",
    )
    currency: str = Field(
        "EUR", min_length=1, max_length=8, description="In what that is: shown beside the figure."
    )


class Rollouts(Section):
    """Bounds on a promotion."""

    prepare_timeout_s: float = Field(
        120.0, gt=0, description="Longest a replica may take to load a version."
    )
    lost_after_s: float = Field(
        10.0,
        gt=0,
        description="A silent replica is replaced after this, so that none serves stale.",
    )
    surge: bool = Field(
        True,
        description=(
            "`switchboard apply` starts a replica before it stops one; needs room for one more."
        ),
    )
    apply_timeout_s: float = Field(
        1800.0, gt=0, description="Longest that `switchboard apply` may take to restart replicas."
    )
