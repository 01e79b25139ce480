"""From the store to a dataset, and from a manifest to the same dataset again.

`build` is what a training run calls. It asks the store for all feedback of a line of business,
what earlier datasets decided, and whether a golden set is frozen. `rebuild` takes the rows that a
manifest names and no others, so that newer feedback changes nothing, and refuses rather than
making something else than what was asked for.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from serving.errors import Conflict
from serving.store import datasets as dataset_rows
from serving.store import interactions
from serving.store.database import Database
from serving.store.erasure import erasures
from serving.store.records import DatasetRecord, LabelledInteraction
from training.data import coverage, dataset, splits
from training.data.curation import divide, learn
from training.data.dataset import Dataset, Manifest
from training.data.examples import Example, example, judged, label, redacted
from training.data.forms.form import Form
from training.data.splits import Past
from training.data.streaming import readers
from training.data.streaming import sources as source_rows
from training.data.streaming.candidates import Candidates
from training.data.streaming.example_lines import Spool
from training.data.streaming.sources import Named, SourceLog, sources
from training.errors import DatasetError
from training.recipe.curation import CurationConfig


async def build(
    db: Database, lob: str, rules: CurationConfig, root: Path, form: Form | None = None
) -> Dataset:
    """Build a dataset from all feedback that there is, and note it in the store.

    The golden set is frozen here, as soon as it has the conversations that the rules ask for. The
    rows are read once, many of them by several processes, and their texts kept on disk; the event
    loop is held up for long: see `execution.curation_process`.

    Args:
        db: The store.
        lob: The line of business.
        rules: The recipe's section.
        root: Folder of all datasets.
        form: How the live version is asked, where it has prompts of its own.

    Raises:
        TooLittleData: There is not enough feedback yet.
        DatasetError: The golden set's files are gone and cannot be made again.
        Conflict: Something was erased meanwhile, which it may hold; its files are gone.
    """
    erased = await erasures.newest(db)
    past = await _past(db, lob, rules, root)
    with Spool(root) as texts, SourceLog(root) as log:
        found = Candidates(rules, texts, form)
        stream, asked_by = interactions.stream(db, lob=lob), form.written() if form else None
        async with aclosing(readers.read(stream, rules, asked_by)) as readings:
            async for reading in readings:
                found.take(reading.found)
                log.write_line(reading.source)
        rows, counts = found.capped()
        divided = divide(lob, rows, found.begins, rules, past, counts)
        conversations = {row.conversation_id for row in divided.golden}
        if past.golden is None and len(conversations) >= rules.golden_conversations:
            frozen = await _freeze(
                db, lob, [texts[r.place] for r in divided.golden], rules, log, root, form
            )
            past = Past(past.rates, past.seen_until, golden=frozen.golden, golden_id=frozen.id)
            divided = divide(lob, rows, found.begins, rules, past, counts)
        curated = learn(divided, texts, rules, past)
        built = dataset.write(
            lob,
            curated,
            rules,
            root,
            log,
            golden_id=past.golden_id,
            coverage=await coverage.of(db, lob, curated, rules, past),
            prompts={**form.as_json(), **found.forms} if form else None,
        )
    await note(db, lob, built, erased)
    return built


async def _freeze(
    db: Database,
    lob: str,
    examples: Sequence[Example],
    rules: CurationConfig,
    log: SourceLog,
    root: Path,
    form: Form | None,
) -> Dataset:
    """Write the golden set, with the rows and the feedback that its examples are made from."""
    used = {e.interaction_id for e in examples}
    read = log.feedback(used | {id_.rpartition("#")[0] for id_ in used})
    rows: dict[str, Any] = {}
    ids_ = sorted(read)
    for start in range(0, len(ids_), interactions.PAGE):
        page = ids_[start : start + interactions.PAGE]
        for item in await interactions.named(db, page):
            ids = read[item.interaction.id]
            known = item.model_copy(
                update={"feedback": tuple(f for f in item.feedback if f.id in ids)}
            )
            named = known.model_copy(update={"feedback": source_rows.on(known, used)})
            if named.feedback:
                rows |= sources([named])
    asked_by = form.as_json() if form else None
    frozen = dataset.write_golden(lob, examples, rules, root, rows, asked_by)
    await note(db, lob, frozen)
    return frozen


async def rebuild(
    db: Database, manifest: Manifest, root: Path, beside: Path | None = None
) -> Dataset:
    """Make the dataset that a manifest describes, byte for byte.

    Args:
        db: The store.
        manifest: The manifest of a dataset made from feedback, or of a golden set.
        root: Folder of all datasets.
        beside: Folder of the manifest, where the file with its rows lies too; None looks where the
            store says that the dataset is, and in its place under `root`.

    Raises:
        DatasetError: A row is gone or was changed, the file that names them is, or other versions
            would make other bytes.
    """
    kind, lob = manifest.get("kind"), manifest.get("lob")
    if manifest.get("format") != dataset.FORMAT or not isinstance(lob, str):
        raise DatasetError(
            f"the manifest has format {manifest.get('format')!r}; {dataset.FORMAT} can be rebuilt"
        )
    if kind == "fine-tune":
        raise DatasetError("a fine-tuning job's dataset is made by a job with the same file")
    if kind == "import":
        raise DatasetError("an imported dataset is rebuilt by importing its file again")
    if "erased" in manifest:
        raise DatasetError(
            f"{manifest['erased']['interactions']} interactions were erased from this dataset: its "
            "files are all that is left of it"
        )
    if kind == "student":
        raise DatasetError("a student's dataset is rebuilt from its teacher's store: train again")
    if kind == "feedback" and "rates" not in manifest["splits"]:
        raise DatasetError(
            "the manifest is of a version that held out the newest conversations; only datasets "
            "made since can be rebuilt"
        )
    id_ = dataset.identify(manifest)
    if manifest.get("made_by") != dataset.made_by():
        raise DatasetError(
            f"these rows make another dataset than {id_[:16]}{_other_versions(manifest)}"
        )
    record = await dataset_rows.get(db, id_)
    folders = [root / dataset.folder_name(lob, id_)]
    folders += [Path(record.uri)] if record else []
    wanted = source_rows.read(manifest, [beside, *folders] if beside else folders)
    past = await _past_of(db, manifest, root)
    with tempfile.TemporaryDirectory() as trial:
        rebuilt = await _again(db, manifest, Named(wanted), past, Path(trial))
        if rebuilt.manifest != manifest:
            raise DatasetError(f"these rows make {rebuilt.folder.name}, not the manifest's dataset")
        rebuilt = await asyncio.to_thread(dataset.copy, rebuilt, root)
    await note(db, lob, rebuilt)
    return rebuilt


async def find(db: Database, prefix: str) -> Dataset:
    """Read a dataset by its id, or by the beginning of it.

    Raises:
        NotFound: There is none.
        Conflict: There are several.
        DatasetError: Its files are gone or changed.
    """
    record = await dataset_rows.find(db, prefix)
    found = await asyncio.to_thread(dataset.read, Path(record.uri))
    if found.id != record.id:
        raise DatasetError(f"{record.uri}: its manifest is not that of dataset {record.id}")
    return found


async def note(db: Database, lob: str, built: Dataset, erased: int | None = None) -> None:
    """Note a dataset in the store; again is fine.

    Raises:
        Conflict: There was an erasure after the one of this number; the files are gone.
    """
    record = DatasetRecord(id=built.id, lob=lob, uri=str(built.folder), manifest=built.manifest)
    try:
        await dataset_rows.save(db, record, erased)
    except Conflict:
        if await dataset_rows.get(db, built.id) is None:
            await asyncio.to_thread(shutil.rmtree, built.folder, ignore_errors=True)
        raise


async def golden(db: Database, lob: str, root: Path) -> Dataset | None:
    """Return a line of business's frozen golden set, if it has one."""
    frozen = await dataset_rows.parts(db, lob, "golden", "kind")
    return await _golden(db, frozen[0][0], root) if frozen else None


async def _past(db: Database, lob: str, rules: CurationConfig, root: Path) -> Past:
    """Return what earlier datasets of a line of business decided."""
    decided = [content for _, content in await dataset_rows.parts(db, lob, "feedback", "splits")]
    frozen = await golden(db, lob, root)
    return Past(
        rates=splits.rates(decided, rules),
        seen_until=splits.seen_until(decided),
        golden_ids=frozenset(c for part in decided for c in part["golden_conversations"]),
        golden=frozen.golden if frozen else None,
        golden_id=frozen.id if frozen else None,
    )


async def _past_of(db: Database, manifest: Manifest, root: Path) -> Past:
    """Return the decisions that a manifest itself records, to be repeated exactly."""
    if manifest["kind"] == "golden":
        return Past()
    part = manifest["splits"]
    frozen = await _golden(db, part["golden"], root) if part["golden"] else None
    return Past(
        rates=tuple((float(until), float(share)) for until, share in part["rates"]),
        golden_ids=frozenset(part["golden_conversations"]),
        golden=frozen.golden if frozen else None,
        golden_id=part["golden"],
        exact=True,
    )


async def _golden(db: Database, id_: str, root: Path) -> Dataset:
    """Return a frozen golden set from its files, or from its rows where those are gone."""
    record = await dataset_rows.find(db, id_)
    for folder in (Path(record.uri), root / Path(record.uri).name):
        if folder.is_dir():
            return dataset.read(folder)
    return await rebuild(db, record.manifest, root)


async def _again(db: Database, manifest: Manifest, named: Named, past: Past, root: Path) -> Dataset:
    """Make a dataset in a folder of its own, of the rows that its manifest names."""
    lob, rules = manifest["lob"], CurationConfig.model_validate(manifest["rules"])
    form = Form.of(manifest["prompts"]) if "prompts" in manifest else None
    with Spool(root) as texts, SourceLog(root) as log:
        found = Candidates(rules, texts, form)
        inline: dict[str, Any] = {}
        golden: list[Example] = []
        async for item in interactions.stream(db, lob=lob):
            if (row := named.take(item)) is None:
                continue
            if source_rows.is_inline(manifest):
                inline |= sources([row])
            else:
                log.add(row)
            if manifest["kind"] == "golden":
                golden += _judged(row, rules, form)
            else:
                found.add(row)
        named.check()
        if manifest["kind"] == "golden":
            golden.sort(key=lambda e: (e.created_at, e.interaction_id))
            asked_by = form.as_json() if form else None
            return dataset.write_golden(lob, golden, rules, root, inline, asked_by)
        rows, counts = found.capped()
        curated = learn(divide(lob, rows, found.begins, rules, past, counts), texts, rules, past)
        return dataset.write(
            lob,
            curated,
            rules,
            root,
            inline if source_rows.is_inline(manifest) else log,
            golden_id=past.golden_id,
            coverage=manifest["coverage"],
            prompts={**form.as_json(), **found.forms} if form else None,
        )


def _judged(item: LabelledInteraction, rules: CurationConfig, form: Form | None) -> list[Example]:
    said = judged(item)
    found = [example(i, v, source) for i, v in said if (source := label(v, rules)) is not None]
    found = redacted(found)[0] if rules.redact else found
    return [form.rendered(one) for one in found] if form else found


def _other_versions(manifest: Manifest) -> str:
    then, now = manifest.get("made_by", {}), dataset.made_by()
    other = [f"{k} {then.get(k)} (here {now[k]})" for k in now if then.get(k) != now[k]]
    return f": it was made by {', '.join(other)}" if other else ""
