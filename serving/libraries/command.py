"""`switchboard knowledge` and `switchboard responses`: import, list, search, use."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from serving import terminal
from serving.config import settings as settings_module
from serving.config.settings import Settings
from serving.startup.keys import DEFAULT_CONFIG, Config, when
from serving.terminal import Json, print_json

knowledge = typer.Typer(
    no_args_is_help=True, help="Passages that suggestions are made from: import, list, search, use."
)
responses = typer.Typer(
    no_args_is_help=True, help="Responses offered beside suggestions: import, list, search, use."
)
console = terminal.console()

Lob = Annotated[str, typer.Argument(help="Line of business.")]
OneLob = Annotated[str | None, typer.Argument(help="Only this line of business.")]
Source = Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="What to import.")]
Query = Annotated[str, typer.Argument(help="What a customer asks, in words.")]
Number = Annotated[int, typer.Argument(help="As `list` shows it.", min=1)]
Most = Annotated[int, typer.Option("-n", min=1, max=100, help="How many at most.")]
SEARCH_S = 30.0


@knowledge.command("import")
def import_knowledge(lob: Lob, source: Source, config: Config = DEFAULT_CONFIG) -> None:
    """Make a new version of a line's knowledge from .md, .html and .jsonl files; it is live."""
    from serving.knowledge import reading

    _import("knowledge", lob, source, reading.passages, config)


@responses.command("import")
def import_responses(lob: Lob, source: Source, config: Config = DEFAULT_CONFIG) -> None:
    """Make a new version of a line's responses from a .csv or .jsonl file; it is live."""
    from serving.knowledge import reading

    _import("responses", lob, source, reading.responses, config)


@knowledge.command("list")
def list_knowledge(
    lob: OneLob = None, json_: Json = False, config: Config = DEFAULT_CONFIG
) -> None:
    """List the versions that there are, the newest of a line first."""
    _list("knowledge", lob, json_, config)


@responses.command("list")
def list_responses(
    lob: OneLob = None, json_: Json = False, config: Config = DEFAULT_CONFIG
) -> None:
    """List the versions that there are, the newest of a line first."""
    _list("responses", lob, json_, config)


@knowledge.command("search")
def search_knowledge(
    lob: Lob, query: Query, n: Most = 5, json_: Json = False, config: Config = DEFAULT_CONFIG
) -> None:
    """Search the live version as a suggestion would, with scores."""
    _search("knowledge", lob, query, n, json_, config)


@responses.command("search")
def search_responses(
    lob: Lob, query: Query, n: Most = 5, json_: Json = False, config: Config = DEFAULT_CONFIG
) -> None:
    """Search the live version as a suggestion would, with scores."""
    _search("responses", lob, query, n, json_, config)


@knowledge.command("use")
def use_knowledge(lob: Lob, version: Number, config: Config = DEFAULT_CONFIG) -> None:
    """Make a version live that there is already, such as the one before."""
    _use("knowledge", lob, version, config)


@responses.command("use")
def use_responses(lob: Lob, version: Number, config: Config = DEFAULT_CONFIG) -> None:
    """Make a version live that there is already, such as the one before."""
    _use("responses", lob, version, config)


def _import(kind: str, lob: str, source: Path, read: Callable[[Path], Any], config: Path) -> None:
    from serving.store.libraries import versions

    settings = settings_module.load(config)
    settings.require_lob(lob)
    entries = read(source)

    its = getattr(settings.lobs[lob], kind)

    async def store(db: Any) -> Any:
        made = None if its is None else await _embedded(settings, its, entries)
        return await versions.add(db, lob, versions.Kind(kind), entries, source.name, made)

    made = _with_store(settings, store)
    _say(f"{lob}: version {made.number} of its {kind} is live: {made.entries} entries.")
    if its is None:
        _say(f"Nothing asks it yet: configure lobs.{lob}.{kind}.")


async def _embedded(settings: Settings, its: Any, entries: Any) -> Any:
    from serving.errors import Unavailable, UpstreamFailed
    from serving.libraries import embedding

    async with embedding.opened(settings, its) as models:
        try:
            return await embedding.embedded(models, its, entries)
        except (UpstreamFailed, Unavailable) as exc:
            _say(f"Not embedded yet, so words alone find them until a server does it: {exc}")
            return None


def _list(kind: str, lob: str | None, json_: bool, config: Path) -> None:
    from serving.store.libraries import versions

    known = _with_store(
        settings_module.load(config), lambda db: versions.versions(db, versions.Kind(kind), lob)
    )
    if json_:
        print_json([one.model_dump(mode="json") for one in known])
        return
    table = Table("line", "version", "live", "entries", "source", "imported")
    for one in known:
        live = "live" if one.live else ""
        row = str(one.number), live, str(one.entries), one.source, when(one.created_at)
        table.add_row(one.lob, *row)
    console.print(table)


def _search(kind: str, lob: str, query: str, most: int, json_: bool, config: Path) -> None:
    settings = settings_module.load(config)
    settings.require_lob(lob)
    found = _with_store(settings, lambda db: _found(db, settings, kind, lob, query, most))
    if json_:
        print_json(found)
        return
    table = Table("score", "words", "meaning", "id", "title", "text")
    for one in found["entries"]:
        text = " ".join(one["text"].split())
        meaning = "" if one["meaning"] is None else f"{one['meaning']:.3f}"
        scores = f"{one['score']:.3f}", f"{one['words']:.3f}", meaning
        table.add_row(*scores, one["id"], one["title"], text[:200])
    console.print(table)


async def _found(
    db: Any, settings: Settings, kind: str, lob: str, query: str, most: int
) -> dict[str, Any]:
    from serving.config.lobs import Knowledge, Responses
    from serving.errors import Unavailable
    from serving.knowledge.libraries import Libraries, Outcome
    from serving.libraries import embedding
    from serving.store.libraries.versions import Kind

    line = settings.lobs[lob]
    own = {"knowledge": line.knowledge or Knowledge(), "responses": line.responses or Responses()}
    patient = own[kind].model_copy(update={"timeout_s": SEARCH_S})
    its = line.model_copy(update={"knowledge": None, "responses": None} | {kind: patient})
    async with embedding.opened(settings, patient) as models:
        libraries = Libraries(db, {lob: its}, models.embedder, models.own)
        try:
            await libraries.refresh()
            found = await libraries.search(lob, Kind(kind), query, most)
        finally:
            await libraries.close()
    if found.outcome is Outcome.FAILED:
        raise Unavailable(f"The search failed: {libraries.alarm.reason or 'the log says why'}")
    entries = [
        hit.entry.model_dump(mode="json")
        | {"score": hit.score, "words": hit.words, "meaning": hit.meaning}
        for hit in found.hits
    ]
    return {"outcome": found.outcome.value, "version": found.version, "entries": entries}


def _use(kind: str, lob: str, number: int, config: Path) -> None:
    from serving.store.libraries import versions

    settings = settings_module.load(config)
    _with_store(settings, lambda db: versions.use(db, lob, versions.Kind(kind), number))
    _say(f"{lob}: version {number} of its {kind} is live.")


def _with_store(settings: Settings, work: Callable[[Any], Awaitable[Any]]) -> Any:
    from serving.store.database import Database

    async def run() -> Any:
        db = Database(settings.store_address)
        await db.open()
        try:
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(run())


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
