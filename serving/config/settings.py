"""The configuration: one YAML file, parsed once, at start.

Every key is documented here by its `Field(description=…)` and in docs/configuration.md (a test
compares the two). Unknown keys, wrong types and missing files are reported together in one
`ConfigError`, each with its key, its value and what to do. ``${NAME}`` in a string is replaced by
the environment variable of that name; where secrets belong it stays, until it is used (secrets.py).
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from serving.config import guards, reviews, rules, secrets
from serving.config.base import Section, explain
from serving.config.embedding.sections import EmbeddingsSection, RerankSection
from serving.config.limits import Alerts, Limits
from serving.config.lobs import Fallback, Lob, Lobs, Upstream, UpstreamName, check_embeddings
from serving.config.placement import Autoscaling, Placement
from serving.config.sections import (
    AdapterSettings,
    Auth,
    Console,
    Costs,
    FileSettings,
    FineTuning,
    Http,
    Journal,
    Rollouts,
    StoreSettings,
    Tls,
)
from serving.config.storage import Storage
from serving.config.telemetry import Telemetry
from serving.config.transcription.sections import Transcription
from serving.errors import ConfigError, NotFound


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
    media_hosts: list[str] = Field(
        default_factory=list,
        description=(
            "Hosts from which a multimodal model may fetch the images, audio and video that a "
            "request names; `data:` is those in the request itself. Empty: text only."
        ),
    )
    prompts: Path = Field(
        Path(__file__).with_name("default_prompts"),
        description="Folder of the Jinja prompts. Default: the package's own, for instruct models.",
    )
    # Checked by type: a validator of the whole would show the keys with its fault.
    upstreams: dict[UpstreamName, Upstream] = Field(
        default_factory=dict, description="External servers for fallback chains, by name."
    )
    lobs: Lobs = Field(description="The lines of business, by name.")
    embeddings: EmbeddingsSection | None = Field(None, description="What embeds texts.")
    rerank: RerankSection | None = Field(None, description="What ranks documents.")
    transcription: Transcription | None = Field(None, description="What hears recordings.")
    http: Http = Field(default_factory=Http, description="Where the server listens.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The database.")
    journal: Journal = Field(default_factory=Journal, description="The local capture log.")
    adapters: AdapterSettings = Field(
        default_factory=AdapterSettings, description="The adapter registry."
    )
    files: FileSettings = Field(
        default_factory=FileSettings, description="Uploaded files and what batches write."
    )
    fine_tuning: FineTuning = Field(
        default_factory=FineTuning, description="Fine-tuning jobs that clients ask for."
    )
    auth: Auth = Field(default_factory=Auth, description="API keys.")
    console: Console = Field(default_factory=Console, description="The pages for people.")
    costs: Costs = Field(default_factory=Costs, description="What running costs.")
    rollouts: Rollouts = Field(default_factory=Rollouts, description="Bounds on a promotion.")
    limits: Limits = Field(default_factory=Limits, description="Admission under load.")
    alerts: Alerts = Field(default_factory=Alerts, description="What is told by a webhook.")
    fallback: Fallback = Field(default_factory=Fallback, description="Limits of fallback chains.")
    storage: Storage = Field(
        default_factory=Storage, validate_default=True, description="Keys for what is stored."
    )
    telemetry: Telemetry = Field(default_factory=Telemetry, description="Traces and logs.")

    @field_validator("engine", "env")
    @classmethod
    def _secrets_are_named(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, str) and not secrets.is_reference(value):
                if value and secrets.is_secret_name(name):
                    raise secrets.refused(name)
                if secrets.has_literal(value):
                    raise secrets.refused(f"a password in {name}")
        return values

    @field_validator("auth")
    @classmethod
    def _open_only_on_loopback(cls, auth: Auth, info: ValidationInfo) -> Auth:
        http = info.data.get("http")
        if not auth.enabled and http is not None and not http.on_loopback:
            raise ValueError(
                f"enabled: off only where http.host is a loopback address, not {http.host}: "
                "anybody would be an admin"
            )
        return auth

    @field_validator("storage")
    @classmethod
    def _keys_where_needed(cls, storage: Storage, info: ValidationInfo) -> Storage:
        lobs = info.data.get("lobs", {})
        needs = [f"lobs.{name}.store.redact" for name, lob in lobs.items() if lob.store.redact]
        journal = info.data.get("journal")
        needs += ["journal.encrypt"] if journal and journal.encrypt else []
        store = info.data.get("store")
        needs += ["store.encrypt"] if store and store.encrypt else []
        if needs and storage.keys is None:
            raise ValueError(f"keys: missing, and {', '.join(needs)} needs them")
        return storage

    @field_validator("telemetry")
    @classmethod
    def _no_texts_past_redaction(cls, telemetry: Telemetry, info: ValidationInfo) -> Telemetry:
        telemetry.check_texts(info.data.get("lobs", {}))
        return telemetry

    @field_validator("lobs", mode="before")
    @classmethod
    def _empty_lines_are_lines(cls, lobs: Any) -> Any:
        if isinstance(lobs, dict):
            return {name: {} if lob is None else lob for name, lob in lobs.items()}
        return lobs

    @field_validator("lobs")
    @classmethod
    def _upstreams_exist(cls, lobs: dict[str, Lob], info: ValidationInfo) -> dict[str, Lob]:
        if "upstreams" not in info.data:  # they are faulty themselves, and reported
            return lobs
        known = [f"upstream:{name}" for name in info.data["upstreams"]]
        for name, lob in lobs.items():
            guards.check_upstream(name, lob.guards, info.data["upstreams"])
            check_embeddings(name, lob, info.data["upstreams"])
            rules.check_routes(name, lob.rules)
            reviews.check_engine(name, lob.reviews, info.data.get("engine", {}))
            for step in lob.fallback:
                if step not in {"previous", "base", *known}:
                    raise ValueError(
                        f"{name}.fallback: there is no {step!r}: use "
                        f"{', '.join(['previous', 'base', *known])}"
                    )
        return lobs

    @property
    def store_address(self) -> str:
        """`store.url`, and where the keys of an encrypted one lie: all that opening it needs."""
        keys = self.storage.keys
        if not self.store.encrypt or keys is None:
            return self.store.url
        where = quote(keys.model_dump_json(exclude_defaults=True), safe="")
        return f"{self.store.url}{'&' if '?' in self.store.url else '?'}encryption={where}"

    @property
    def ray_address_file(self) -> Path:
        """Where the server writes the address of its Ray cluster, for jobs of this machine."""
        return self.journal.dir / "ray-address"

    @property
    def url(self) -> str:
        """The server's own address for clients on this machine, without /v1."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = anywhere.get(self.http.host, self.http.host)
        scheme = "http" if self.http.tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.http.port}"

    def secrets(self) -> list[tuple[str, str]]:
        """The keys that name secrets, with their values."""
        found = [("store.url", self.store.url), *self.alerts.secrets()]
        found += [(f"env.{name}", value) for name, value in self.env.items()]
        found += [
            (f"upstreams.{name}.api_key", upstream.api_key)
            for name, upstream in self.upstreams.items()
            if upstream.api_key is not None
        ]
        for name, lob in self.lobs.items():
            found += rules.secrets(name, lob.rules) + reviews.secrets(name, lob.reviews)
        token = self.engine.get("hf_token")
        return found + ([("engine.hf_token", token)] if isinstance(token, str) else [])

    def environment(self) -> dict[str, str]:
        """`env` with its secrets, for the process that needs it.

        Raises:
            ConfigError: A secret is not there.
        """
        return secrets.resolve_all(self.env, "env")

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
        raw = {key: value for key, value in secrets.expand(raw).items() if value is not None}
        if port is not None:
            raw["http"] = {**(raw.get("http") or {}), "port": port}
        return _absolute(Settings.model_validate(raw))
    except ValidationError as exc:
        raise ConfigError(f"{path}: {explain(exc)}") from exc


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
    tls = settings.http.tls and Tls(
        certificate=settings.http.tls.certificate.absolute(), key=settings.http.tls.key.absolute()
    )
    url = settings.store.url
    if url.startswith("sqlite:///") and url != "sqlite:///:memory:":
        url = f"sqlite:///{Path(url.removeprefix('sqlite:///')).absolute()}"
    return settings.model_copy(
        update={
            "model": model,
            "prompts": settings.prompts.absolute(),
            "storage": settings.storage.absolute(),
            "http": settings.http.model_copy(update={"tls": tls}),
            "store": settings.store.model_copy(update={"url": url}),
            "journal": settings.journal.model_copy(update={"dir": settings.journal.dir.absolute()}),
            "files": settings.files.model_copy(update={"uri": local(settings.files.uri)}),
            "adapters": settings.adapters.model_copy(
                update={
                    "uri": local(settings.adapters.uri),
                    "cache_dir": settings.adapters.cache_dir.absolute(),
                }
            ),
        }
    )
