"""What a start would fail on, found before Ray or the engine begins.

The engine finds a corrupt checkpoint after a minute, in another process. These checks take a
second, look at everything, and report all faults together. What only the engine can know stays
with it (engine/fault.py carries it here).
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from serving import ports, private_files
from serving.cluster import haproxy, joining
from serving.config import prompts, secrets
from serving.config.settings import Settings
from serving.encryption import keyring
from serving.engine import args, checkpoint, hardware, sizing
from serving.engine.checkpoint import Checkpoint
from serving.engine.hardware import GIB, Hardware
from serving.engine.sizing import Choice
from serving.errors import ConfigError, StoreUnavailable
from serving.redaction import person_names
from serving.store.database import Database


@dataclass(frozen=True, slots=True)
class Findings:
    """The machine, the model and what they decide."""

    hardware: Hardware
    checkpoint: Checkpoint
    choices: list[Choice]
    weight_bytes: int
    closed: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people: one line a choice, with the key that overrides it and the reason."""
        weights = self.weight_bytes
        size = f"{weights / GIB:.2f} GiB of weights" if weights else "weights of unknown size"
        return [
            f"{self.hardware}; {size}.",
            *(f"  {choice}  ({choice.why})" for choice in self.choices),
            *self.closed,
        ]


def run(settings: Settings, files: Mapping[str, str], *, starting: bool) -> Findings:
    """Check everything that needs no engine.

    Args:
        settings: The configuration.
        files: The prompt files, as `prompts.read` gives them.
        starting: Whether a start follows: then the port must be free, the folders are made and
            the database is opened.

    Raises:
        ConfigError: All faults, each with its key and what to do.
    """
    faults: list[str] = []
    closed: list[str] = []

    def attempt(check: Callable[[], object]) -> None:
        try:
            check()
        except ConfigError as exc:
            faults.append(exc.message)

    attempt(lambda: prompts.parse(files, settings.lobs))
    attempt(lambda: args.check(settings.engine))
    for key, text in settings.secrets():
        attempt(lambda key=key, text=text: secrets.resolve(text, key))  # type: ignore[misc]
    if tls := settings.http.tls:
        attempt(lambda: joining.check_tls(settings, joining.address(settings)))
        attempt(lambda: haproxy.read_tls(tls))
    if (keys := settings.storage.keys) is not None:
        attempt(lambda: keyring.read(keys))
    if any(lob.store.names for lob in settings.lobs.values()):
        attempt(lambda: person_names.load(settings.storage.names))
    found: list[Findings] = []
    attempt(lambda: found.append(_fit(settings)))
    if starting:
        attempt(lambda: ports.check(settings.http))
        for key, folder in _folders(settings).items():
            attempt(lambda key=key, folder=folder: _check_folder(key, folder))  # type: ignore[misc]
        attempt(lambda: closed.extend(private_files.close(_private(settings))))
        if not faults:
            attempt(lambda: asyncio.run(_check_store(settings)))
    if faults:
        raise ConfigError("\n  ".join([f"{len(faults)} fault(s)", *faults]))
    return replace(found[0], closed=closed)


def give_a_home() -> str | None:
    """Give a user without one a home folder: libraries cache below it, and raise where none is.

    Returns:
        The folder, where one had to be made.
    """
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry of the user's, as in containers
        home = Path(tempfile.mkdtemp(prefix="switchboard-home-"))
    else:
        if home.is_dir():
            return None
        home = Path(tempfile.mkdtemp(prefix="switchboard-home-"))
    os.environ["HOME"] = str(home)
    os.environ.setdefault("LOGNAME", "switchboard")  # getpass asks for it, or for the entry
    return str(home)


def _fit(settings: Settings) -> Findings:
    facts = hardware.read()
    sizes = checkpoint.of(settings)
    checkpoint.check_template(checkpoint.locate(settings.model), settings.engine)
    choices = sizing.choose(facts, sizes, settings)
    filled = sizing.fill(settings, choices)
    if joining.address(settings) == joining.LOCAL:  # elsewhere the replicas run on other machines
        sizing.check(facts, sizes, filled)
    return Findings(
        facts, sizes, choices, sizes.weight_bytes(sizing.dtype_of(facts, sizes, filled))
    )


def _private(settings: Settings) -> list[Path]:
    """What holds conversations, models made of them, or a token, as far as it is on this disk."""
    folders = _folders(settings)
    store = folders.pop("store.url", None)  # which may be a folder that others share
    file = settings.store.url.removeprefix("sqlite:///")
    files = [] if store is None else [Path(file + suffix) for suffix in ("", "-wal", "-shm")]
    return [*folders.values(), *files, Path.home() / ".ray" / "auth_token"]


def _folders(settings: Settings) -> dict[str, Path]:
    folders = {"journal.dir": settings.journal.dir}
    for key, uri in (("adapters.uri", settings.adapters.uri), ("files.uri", settings.files.uri)):
        if "://" not in uri:
            folders[key] = Path(uri)
    if settings.store.url.startswith("sqlite:///"):
        folders["store.url"] = Path(settings.store.url.removeprefix("sqlite:///")).parent
    return folders


def _check_folder(key: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise ConfigError(
            f"{key}: {folder} cannot be written: {exc.strerror}. Give its owner the right, or "
            "choose another folder.",
            param=key,
        ) from exc


async def _check_store(settings: Settings) -> None:
    db = Database(settings.store_address)
    try:
        await db.open_at_start()
    except StoreUnavailable:
        pass  # it may be down for a while: the start waits for it, and says so
    finally:
        await db.close()
