"""`switchboard dataset`: build, show, list, export and import what adapters are trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.terminal import Json, console, print_json
from training.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_OUT,
    Config,
    Lob,
    Out,
    RecipePath,
    with_store,
)

if TYPE_CHECKING:
    from serving.config.settings import Settings
    from serving.store.database import Database
    from training.data.dataset import Dataset

app = typer.Typer(
    no_args_is_help=True, help="Datasets: build, show, list, export, import your own."
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The dataset's id, or its beginning.")]


@app.command()
def build(
    lob: Lob,
    from_manifest: Annotated[
        Path | None,
        typer.Option(help="Make the dataset of this manifest again, byte for byte."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Build a dataset from the feedback in the store, as `switchboard train` does."""
    import json

    from serving.adapters.registry import Registry
    from training.data import dataset, repository
    from training.errors import DatasetError
    from training.execution import asked_by
    from training.recipe import recipe as recipes

    root = out / "datasets"

    async def work(db: "Database", settings: "Settings") -> "Dataset":
        settings.require_lob(lob)
        if from_manifest is None:
            rules = recipes.load(recipe or recipes.find(lob, config)).curation
            live = await asked_by.live(Registry(db, settings.adapters.uri), lob)
            form = await asked_by.own(live, settings)
            return await repository.build(db, lob, rules, root, form)
        try:
            manifest = json.loads(dataset.read_bytes(from_manifest))
        except ValueError as exc:
            raise DatasetError(f"{from_manifest}: is not a manifest: {exc}") from exc
        if not isinstance(manifest, dict) or manifest.get("lob") != lob:
            raise DatasetError(f"{from_manifest}: is not a manifest of {lob}")
        return await repository.rebuild(db, manifest, root, from_manifest.parent)

    _describe(with_store(config, work))


@app.command("import")
def import_(
    lob: Lob,
    file: Annotated[
        Path, typer.Argument(help="JSON Lines or a JSON array: TRL's formats, ShareGPT or Alpaca.")
    ],
    form: Annotated[
        Literal["rows", "star"],
        typer.Option("--format", help="rows, or the dialogs of RasaHQ/STAR (plain or .gz)."),
    ] = "rows",
    domain: Annotated[
        list[str] | None,
        typer.Option(help="STAR: what dialogs are about; again for more. Default: LOB's name."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    recipe: RecipePath = None,
    out: Out = DEFAULT_OUT,
) -> None:
    """Make a dataset of your own data, for `switchboard train LOB --dataset ID`."""
    from serving.config import prompts
    from training.data import dataset, imports, repository
    from training.data.formats import star_examples
    from training.data.splits import Past
    from training.recipe import recipe as recipes

    root = out / "datasets"

    async def work(db: "Database", settings: "Settings") -> "Dataset":
        settings.require_lob(lob)
        rules = recipes.load(recipe or recipes.find(lob, config)).curation
        rules = rules.model_copy(update={"golden_share": 0.0})
        frozen = await repository.golden(db, lob, root)
        past = Past(golden=frozen.golden, golden_id=frozen.id) if frozen else Past()
        if form == "star":
            line = settings.lobs[lob]
            prompt = prompts.load(settings.prompts, [lob])[lob, "suggestion"]
            render = star_examples.Renderer(lob, prompt, line.description, line.guidelines)
            domains = frozenset(domain or [lob])
            curated, source = star_examples.read(lob, file, domains, render, rules, past)
        else:
            if domain:
                raise typer.BadParameter("goes with --format star", param_hint="--domain")
            curated, source = imports.read(lob, file, rules, past)
        built = dataset.write(
            lob,
            curated,
            rules,
            root,
            kind="import",
            sources=source,
            golden_id=past.golden_id,
        )
        await repository.note(db, lob, built)
        return built

    _describe(with_store(config, work))


@app.command()
def show(id_: Id, json_: Json = False, config: Config = DEFAULT_CONFIG) -> None:
    """Show what a dataset holds and what each filter kept; its files are checked."""
    from training.data import repository

    built = with_store(config, lambda db, _: repository.find(db, id_))
    if json_:
        print_json({"id": built.id, "folder": built.folder, "manifest": built.manifest})
        return
    _describe(built)


@app.command("list")
def list_(
    lob: Annotated[str | None, typer.Argument(help="Only this line of business.")] = None,
    json_: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List datasets, oldest first."""
    import time

    from rich.table import Table

    from serving.store import datasets as dataset_rows

    found = with_store(config, lambda db, _: dataset_rows.list_all(db, lob))
    if json_:
        print_json(found)
        return
    table = Table("id", "LOB", "kind", "created", "train", "rolling", "golden", "folder")
    for record in found:
        files = record.manifest.get("files", {})
        counts = (
            files.get(f"{name}.jsonl", {}).get("examples", 0)
            for name in ("train", "rolling", "golden")
        )
        table.add_row(
            record.id[:16],
            record.lob,
            record.manifest.get("kind", ""),
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.created_at)),
            *(str(count) for count in counts),
            record.uri,
        )
    console().print(table)


@app.command()
def export(
    id_: Id,
    to: Annotated[
        Path,
        typer.Argument(help="A new .jsonl file, or a new folder for datasets.load_from_disk."),
    ],
    form: Annotated[
        Literal["sft", "preference", "kto"], typer.Option("--format", help="Which of TRL's.")
    ] = "sft",
    split: Annotated[
        Literal["train", "rolling", "golden"], typer.Option(help="Which part.")
    ] = "train",
    reason: Annotated[str | None, typer.Option(help="Why; the audit keeps it.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Write a dataset for other tools, in one of TRL's formats."""
    from serving.store import audit
    from training.data import export as dataset_export
    from training.data import repository

    async def found(db: "Database", _: "Settings") -> "Dataset":
        built = await repository.find(db, id_)
        detail = {"by": audit.operator(), "format": form, "split": split, "reason": reason}
        await audit.write(db, None, "export_dataset", built.id, detail)
        return built

    built = with_store(config, found)
    count = dataset_export.write(built, form, split, to)
    typer.echo(f"{to}: {count} rows, {form}, {split} of dataset {built.id[:16]}")


def _describe(built: "Dataset") -> None:
    from rich.table import Table

    manifest = built.manifest
    typer.echo(f"Dataset {built.id}\n{manifest['kind']} of {manifest['lob']}, in {built.folder}")
    files = Table("file", "rows", "conversations", "sha256")
    for name, file in manifest["files"].items():
        counts = str(file["examples"]), str(file["conversations"])
        files.add_row(name, *counts, file["sha256"][:16])
    console().print(files)
    if "filters" in manifest:
        filters = Table("filter", "kept", "dropped")
        for count in manifest["filters"]:
            filters.add_row(count["name"], str(count["kept"]), str(count["dropped"]))
        console().print(filters)
        replaced = [
            f"{number} {kind}" for kind, number in manifest["redaction"]["replaced"].items()
        ]
        typer.echo(f"Redacted: {', '.join(replaced) or 'nothing'}")
        frozen = manifest["splits"]["golden"]
        typer.echo(f"Golden set: {f'frozen, {frozen[:16]}' if frozen else 'not frozen yet'}")
