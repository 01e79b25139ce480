"""The configuration: one YAML file, parsed once, at start.

Every key is documented here by its `Field(description=…)` and in docs/configuration.md (a test
compares the two). Unknown keys, wrong types and missing files are reported together in one
`ConfigError`, each with its key, its value and what to do. ``${NAME}`` in a string is replaced by
the environment variable of that name, so that secrets stay out of files.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from serving.errors import ConfigError, NotFound
from serving.limit_settings import Limits, LobLimits
from serving.section import Section

LOB_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
UpstreamName = Annotated[str, StringConstraints(pattern=f"^{LOB_NAME.pattern}$")]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Http(Section):
    """Where the server listens."""

    host: str = Field(
        "0.0.0.0",  # noqa: S104 - a server; authentication is on by default
        description="Address to bind. HAProxy mode listens on it from the proxy process.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the OpenAI-compatible endpoint.")
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
    body_limit_bytes: int = Field(
        4 << 20, ge=1024, description="Larger request bodies are answered with 413."
    )
    drain_s: float = Field(
        20.0,
        gt=0,
        description="Longest that a stopping replica lets requests in flight go on.",
    )
    proxy_on: Literal["every_node", "head"] = Field(
        "every_node",
        description="Which nodes of a cluster listen: all that hold replicas, or the head only.",
    )


class StoreSettings(Section):
    """Where interactions, feedback, versions and audit live."""

    url: str = Field(
        "sqlite:///data/switchboard.sqlite",
        description="sqlite:///path or postgresql://user:password@host/database.",
    )


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
    limit_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Backlog at which capture raises the alarm."
    )


class Adapters(Section):
    """The adapter registry's artifacts."""

    uri: str = Field("data/adapters", description="Folder or any fsspec URL (s3://…, gs://…).")
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


class Auth(Section):
    """API keys."""

    enabled: bool = Field(True, description="Off only for a server that no one else can reach.")
    metrics_public: bool = Field(False, description="Serve /metrics without a key.")


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


class Placement(Section):
    """Where a replica's processes run, for engines that span GPUs or nodes."""

    bundles: list[dict[str, float]] = Field(
        default_factory=list,
        description=(
            "Ray placement group of a replica, such as [{CPU: 1, GPU: 1}, {GPU: 1}]; the first "
            "bundle holds the replica. Empty: a replica reserves `resources` on one node."
        ),
    )
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = Field(
        "PACK", description="How Ray lays the bundles over nodes."
    )
    max_replicas_per_node: int | None = Field(
        None, ge=1, le=100, description="Spreads replicas over nodes; not with bundles."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Placement":
        if self.bundles and self.max_replicas_per_node is not None:
            raise ValueError("bundles and max_replicas_per_node exclude each other (Ray Serve)")
        return self


class Autoscaling(Section):
    """How many replicas run, by load; off unless `max_replicas` is set."""

    min_replicas: int = Field(1, ge=1, description="Fewest replicas, where autoscaling is on.")
    max_replicas: int = Field(0, ge=0, description="Most replicas. 0: always `replicas`.")
    target_ongoing_requests: float = Field(
        32.0, gt=0, description="Requests in flight per replica that Ray Serve aims at."
    )
    upscale_delay_s: float = Field(30.0, ge=0, description="Load must last this long to add one.")
    downscale_delay_s: float = Field(
        600.0, ge=0, description="Calm must last this long to remove one."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.max_replicas and self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self


class Fallback(Section):
    """When a step of a fallback chain is given up, and for how long it is not asked again."""

    first_byte_s: float = Field(
        10.0, gt=0, description="Longest wait for our engine's first byte of a stream."
    )
    answer_s: float = Field(
        60.0,
        gt=0,
        description="The same where nothing is streamed: the first byte is the whole answer.",
    )
    failures: int = Field(
        3, ge=1, description="Consecutive failures that open a step's circuit breaker."
    )
    reset_s: float = Field(
        30.0,
        gt=0,
        description="An open breaker skips its step so long; then one request tries.",
    )


class Upstream(Section):
    """An external OpenAI-compatible server."""

    url: str = Field(
        pattern=r"^https?://[^/?#@]+(/[^?#]*)?$",
        description="Its address, with the /v1: https://models.example/v1.",
    )
    model: str = Field(min_length=1, description="The model to ask it for.")
    api_key: SecretStr | None = Field(
        None, description="Its API key; write ${NAME} and keep the key in the environment."
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Longest wait for its first byte, and between two chunks."
    )
    max_connections: int = Field(
        100, ge=1, description="Connections that a replica opens to it at once."
    )
    pass_fields: list[str] = Field(
        default_factory=list,
        description="Request fields outside OpenAI's API that it understands (top_k, …).",
    )


class Lob(Section):
    """One line of business."""

    description: str = Field(
        "", description="What the line's work is; the default prompts tell it the model."
    )
    guidelines: str = Field(
        "", description="The line's rules for its texts; the default prompts hold them."
    )
    summary_fields: dict[str, str] = Field(
        default_factory=dict,
        description="Fields of a structured summary: name to description; all strings.",
    )
    suggestion_defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Sampling defaults of /v1/suggestions; temperature 0 and max_tokens 256 "
        "unless set.",
    )
    summary_defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Sampling defaults of /v1/summaries; temperature 0 and max_tokens 512 "
        "unless set.",
    )
    limits: LobLimits = Field(
        default_factory=LobLimits, description="What the line may use, and its deadline."
    )
    fallback: list[str] = Field(
        default_factory=list,
        description="What answers where the line's version cannot, in order: previous, base, "
        "upstream:NAME.",
    )


class Settings(Section):
    """The whole configuration file."""

    model: str = Field(description="Path or hub id of the base model: the one line to change.")
    served_name: str = Field("base", description="The name clients use for the base model.")
    replicas: int = Field(1, ge=1, description="Engine replicas, each with its own engine.")
    engine: dict[str, Any] = Field(
        default_factory=dict,
        description="vLLM engine arguments as in `vllm serve`, with underscores.",
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of the replicas (VLLM_…)."
    )
    resources: dict[str, float] = Field(
        default_factory=dict, description="Ray resources a replica holds, such as num_gpus: 1."
    )
    placement: Placement = Field(
        default_factory=Placement, description="Where a replica's processes run."
    )
    autoscaling: Autoscaling = Field(
        default_factory=Autoscaling, description="How many replicas run, by load."
    )
    ray_address: str = Field(
        "",
        description="Ray cluster to join: auto or HOST:6379. Empty: RAY_ADDRESS, or its own.",
    )
    prompts: Path = Field(
        Path(__file__).with_name("default_prompts"),
        description="Folder of the Jinja prompts. Default: the package's own, for instruct models.",
    )
    # Checked by type: a validator of the whole would show the keys with its fault.
    upstreams: dict[UpstreamName, Upstream] = Field(
        default_factory=dict, description="External servers for fallback chains, by name."
    )
    lobs: dict[str, Lob] = Field(description="The lines of business, by name.")
    http: Http = Field(default_factory=Http, description="Where the server listens.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The database.")
    journal: Journal = Field(default_factory=Journal, description="The local capture log.")
    adapters: Adapters = Field(default_factory=Adapters, description="The adapter registry.")
    auth: Auth = Field(default_factory=Auth, description="API keys.")
    rollouts: Rollouts = Field(default_factory=Rollouts, description="Bounds on a promotion.")
    limits: Limits = Field(default_factory=Limits, description="Admission under load.")
    fallback: Fallback = Field(default_factory=Fallback, description="Limits of fallback chains.")

    @field_validator("lobs", mode="before")
    @classmethod
    def _empty_lines_are_lines(cls, lobs: Any) -> Any:
        if isinstance(lobs, dict):
            return {name: {} if lob is None else lob for name, lob in lobs.items()}
        return lobs

    @field_validator("lobs")
    @classmethod
    def _fallbacks_exist(cls, lobs: dict[str, Lob], info: ValidationInfo) -> dict[str, Lob]:
        if "upstreams" not in info.data:  # they are faulty themselves, and reported
            return lobs
        known = [f"upstream:{name}" for name in info.data["upstreams"]]
        for name, lob in lobs.items():
            for step in lob.fallback:
                if step not in {"previous", "base", *known}:
                    raise ValueError(
                        f"{name}.fallback: there is no {step!r}: use "
                        f"{', '.join(['previous', 'base', *known])}"
                    )
        return lobs

    @field_validator("lobs")
    @classmethod
    def _names_are_safe(cls, lobs: dict[str, Lob]) -> dict[str, Lob]:
        for name in lobs:
            if not LOB_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name for a line of business: use a-z, 0-9, _ and -, "
                    "starting with a letter, at most 32 characters"
                )
        return lobs

    @property
    def ray_address_file(self) -> Path:
        """Where the server writes the address of its Ray cluster, for jobs of this machine."""
        return self.journal.dir / "ray-address"

    @property
    def url(self) -> str:
        """The server's own address for clients on this machine, without /v1."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = anywhere.get(self.http.host, self.http.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http.port}"

    def require_lob(self, lob: str) -> None:
        """Raise NotFound, naming those there are, if this line of business is not configured."""
        if lob not in self.lobs:
            known = ", ".join(self.lobs)
            raise NotFound(f"no line of business {lob!r} is configured; there are: {known}")


def load(path: Path | str, *, port: int | None = None) -> Settings:
    """Read a configuration file.

    Args:
        path: The YAML file. Relative paths inside it are relative to the working directory.
        port: Overrides `http.port`.

    Returns:
        The settings, with every relative path made absolute, since replicas run elsewhere.

    Raises:
        ConfigError: The file is missing, is not YAML, or has faults; all are listed.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file. Give the path of a configuration file.") from exc
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path}: cannot be read as YAML: {exc}") from exc
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values at the top, got {type(raw).__name__}.")
    try:
        # A section whose keys are all commented out is None.
        raw = {key: value for key, value in _expand(raw, "").items() if value is not None}
        if port is not None:
            raw["http"] = {**(raw.get("http") or {}), "port": port}
        return _absolute(Settings.model_validate(raw))
    except ValidationError as exc:
        raise ConfigError(f"{path}: {explain(exc)}") from exc


def explain(error: ValidationError) -> str:
    """Say all faults that pydantic found: key, value and fix, a line each."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "(top)"
        if fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key (value {fault['input']!r}). Remove or correct it.")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing. Add it.")
        else:
            lines.append(f"{key}: {fault['msg']}, got {fault['input']!r}.")
    return "\n  ".join([f"{len(lines)} fault(s)", *lines])


def _expand(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str):
        for name in _VARIABLE.findall(value):
            if name not in os.environ:
                raise ConfigError(f"{key}: the environment variable {name} is not set.", param=key)
        return _VARIABLE.sub(lambda found: os.environ[found[1]], value)
    return value


def _absolute(settings: Settings) -> Settings:
    def local(text: str) -> str:
        return text if "://" in text else str(Path(text).absolute())

    model = settings.model
    if (Path(model) / "config.json").is_file():
        model = str(Path(model).absolute())
    elif model.startswith((".", "/", "~")):
        raise ConfigError(
            f"model: {model!r} holds no config.json. Give a Hugging Face checkpoint folder "
            "or a hub id.",
            param="model",
        )
    if not settings.prompts.is_dir():
        raise ConfigError(f"prompts: no folder {str(settings.prompts)!r}.", param="prompts")
    url = settings.store.url
    if url.startswith("sqlite:///") and url != "sqlite:///:memory:":
        url = f"sqlite:///{Path(url.removeprefix('sqlite:///')).absolute()}"
    return settings.model_copy(
        update={
            "model": model,
            "prompts": settings.prompts.absolute(),
            "store": settings.store.model_copy(update={"url": url}),
            "journal": settings.journal.model_copy(update={"dir": settings.journal.dir.absolute()}),
            "adapters": settings.adapters.model_copy(
                update={
                    "uri": local(settings.adapters.uri),
                    "cache_dir": settings.adapters.cache_dir.absolute(),
                }
            ),
        }
    )
