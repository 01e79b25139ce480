"""From the store to a dataset, and from a manifest to the same dataset again.

`build` is what a training run calls. It asks the store for all feedback of a line of business,
what earlier datasets decided, and whether a golden set is frozen. `rebuild` takes the rows that a
manifest names and no others, so that newer feedback changes nothing, and refuses rather than
making something else than what was asked for.
"""

import hashlib
import json
import tempfile
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.store import datasets as dataset_rows
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import DatasetRecord, FeedbackRecord, LabelledInteraction
from training.data import dataset, splits
from training.data.curation import Curated, curate
from training.data.dataset import Dataset, Manifest
from training.data.examples import candidate, conversation, example, judged, label, redacted
from training.data.splits import Past
from training.errors import DatasetError
from training.recipe.curation import CurationConfig


async def build(db: Database, lob: str, rules: CurationConfig, root: Path) -> Dataset:
    """Build a dataset from all feedback that there is, and note it in the store.

    The golden set is frozen here, as soon as it has the conversations that the rules ask for.

    Args:
        db: The store.
        lob: The line of business.
        rules: The recipe's section.
        root: Folder of all datasets.

    Raises:
        TooLittleData: There is not enough feedback yet.
        DatasetError: The golden set's files are gone and cannot be made again.
    """
    labelled = await interactions.labelled(db, lob=lob)
    past = await _past(db, lob, rules, root)
    curated = curate(lob, labelled, rules, past)
    ids = {e.conversation_id for e in curated.golden}
    if past.golden is None and len(ids) >= rules.golden_conversations:
        mine = [item for item in labelled if conversation(item.interaction) in ids]
        used = {e.interaction_id for e in curated.golden}
        named = (item.model_copy(update={"feedback": _on(item, used)}) for item in mine)
        frozen = dataset.write_golden(
            lob,
            curated.golden,
            rules,
            root,
            sources(item for item in named if item.feedback),
        )
        await note(db, lob, frozen)
        past = splits.Past(past.rates, past.seen_until, golden=frozen.golden, golden_id=frozen.id)
        curated = curate(lob, labelled, rules, past)
    coverage = await _coverage(db, lob, curated, rules, past)
    built = dataset.write(
        lob, curated, rules, root, sources(labelled), golden_id=past.golden_id, coverage=coverage
    )
    await note(db, lob, built)
    return built


async def rebuild(db: Database, manifest: Manifest, root: Path) -> Dataset:
    """Make the dataset that a manifest describes, byte for byte.

    Args:
        db: The store.
        manifest: The manifest of a dataset made from feedback, or of a golden set.
        root: Folder of all datasets.

    Raises:
        DatasetError: A row is gone or was changed, or other versions would make other bytes.
    """
    kind, lob = manifest.get("kind"), manifest.get("lob")
    if manifest.get("format") != dataset.FORMAT or not isinstance(lob, str):
        raise DatasetError(
            f"the manifest has format {manifest.get('format')!r}; {dataset.FORMAT} can be rebuilt"
        )
    if kind == "import":
        raise DatasetError("an imported dataset is rebuilt by importing its file again")
    if kind == "student":
        raise DatasetError("a student's dataset is rebuilt from its teacher's store: train again")
    if kind == "feedback" and "rates" not in manifest["splits"]:
        raise DatasetError(
            "the manifest is of a version that held out the newest conversations; only datasets "
            "made since can be rebuilt"
        )
    rules = CurationConfig.model_validate(manifest["rules"])
    labelled = _named(await interactions.labelled(db, lob=lob), manifest["sources"])
    past = await _past_of(db, manifest, root)
    with tempfile.TemporaryDirectory() as trial:
        rebuilt = _again(manifest, labelled, rules, past, Path(trial))
        if rebuilt.manifest != manifest:
            raise DatasetError(
                f"these rows make {rebuilt.folder.name}, not the manifest's dataset"
                + _other_versions(manifest)
            )
    rebuilt = _again(manifest, labelled, rules, past, root)
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
    found = dataset.read(Path(record.uri))
    if found.id != record.id:
        raise DatasetError(f"{record.uri}: its manifest is not that of dataset {record.id}")
    return found


async def note(db: Database, lob: str, built: Dataset) -> None:
    """Note a dataset in the store; again is fine."""
    record = DatasetRecord(id=built.id, lob=lob, uri=str(built.folder), manifest=built.manifest)
    await dataset_rows.save(db, record)


async def golden(db: Database, lob: str, root: Path) -> Dataset | None:
    """Return a line of business's frozen golden set, if it has one."""
    frozen = await dataset_rows.parts(db, lob, "golden", "kind")
    return await _golden(db, frozen[0][0], root) if frozen else None


def _on(item: LabelledInteraction, examples: Container[str]) -> tuple[FeedbackRecord, ...]:
    """Return the feedback on the candidates that these examples, by id, are made from."""
    return tuple(
        f
        for f in item.feedback
        if (one := candidate(item.interaction, f.index)) is not None and one.id in examples
    )


def sources(labelled: Iterable[LabelledInteraction]) -> dict[str, Any]:
    """Return each row's feedback ids and the hash of what curation reads of it, by row id."""
    return {
        item.interaction.id: {
            "feedback": [f.id for f in item.feedback],
            "sha256": _hash(item),
        }
        for item in labelled
    }


_INTERACTION = {
    *("id", "created_at", "task", "version", "messages", "output", "finish_reason"),
    *("conversation_id", "turn_position", "status", "key_id"),
}
_REQUEST = ("response_format", "max_completion_tokens", "max_tokens", "user")
_FEEDBACK = {"id", "created_at", "key_id", "rating", "edit", "used", "rejected"}


def _hash(item: LabelledInteraction) -> str:
    """Hash what curation reads, so that a new column changes no manifest."""
    request = item.interaction.request
    content: dict[str, Any] = {
        "interaction": item.interaction.model_dump(mode="json", include=_INTERACTION),
        "request": {key: request[key] for key in _REQUEST if key in request},
        "feedback": [_said(f) for f in item.feedback],
    }
    others = {f.index: candidate(item.interaction, f.index) for f in item.feedback if f.index}
    if others:  # of the first alone, what was hashed before candidates had feedback
        content["candidates"] = {
            str(index): one and [one.output, one.finish_reason] for index, one in others.items()
        }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _said(feedback: FeedbackRecord) -> dict[str, Any]:
    said = feedback.model_dump(mode="json", include=_FEEDBACK)
    return said | {"index": feedback.index} if feedback.index else said


def _named(
    labelled: Iterable[LabelledInteraction], wanted: Mapping[str, Any]
) -> list[LabelledInteraction]:
    """Return the rows that a manifest names, with the feedback that it names.

    Raises:
        DatasetError: One is gone or was changed; names the first and counts the others.
    """
    rows, faults = [], []
    seen = set()
    for item in labelled:
        id_ = item.interaction.id
        if id_ not in wanted:
            continue
        seen.add(id_)
        ids = set(wanted[id_]["feedback"])
        named = tuple(f for f in item.feedback if f.id in ids)
        gone = sorted(ids - {f.id for f in named})
        rows.append(item.model_copy(update={"feedback": named}))
        if gone:
            faults.append(f"feedback {gone[0]} on interaction {id_} is no longer in the store")
        elif _hash(rows[-1]) != wanted[id_]["sha256"]:
            faults.append(f"interaction {id_} or its feedback is not what it was")
    faults += [f"interaction {id_} is no longer in the store" for id_ in sorted(set(wanted) - seen)]
    if faults:
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise DatasetError(f"the dataset cannot be rebuilt: {faults[0]}{others}")
    return rows


async def _coverage(
    db: Database, lob: str, curated: Curated, rules: CurationConfig, past: Past
) -> dict[str, int]:
    """Return how many answers were shown in the conversations that judge, and how many judge."""
    since, frozen = splits.judged_since(curated.seen_until, rules), splits.frozen_ids(past)
    golden = frozen | {e.conversation_id for e in curated.golden}
    answered = await interactions.shown(db, lob=lob, since=since, tasks=rules.tasks)
    shown = sum(
        answers
        for name, begin, answers in answered
        if begin <= curated.seen_until
        and name not in golden
        and splits.is_drawn(lob, name, begin, rules, past)
    )
    return {"shown": max(shown, curated.judged), "judged": curated.judged}


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


def _again(
    manifest: Manifest,
    labelled: Sequence[LabelledInteraction],
    rules: CurationConfig,
    past: Past,
    root: Path,
) -> Dataset:
    lob = manifest["lob"]
    if manifest["kind"] == "golden":
        said = [one for item in labelled for one in judged(item)]
        found = [example(i, v, source) for i, v in said if (source := label(v, rules)) is not None]
        found.sort(key=lambda e: (e.created_at, e.interaction_id))
        if rules.redact:
            found, _ = redacted(found)
        return dataset.write_golden(lob, found, rules, root, sources(labelled))
    curated = curate(lob, labelled, rules, past)
    rows, coverage = sources(labelled), manifest["coverage"]
    return dataset.write(
        lob, curated, rules, root, rows, golden_id=past.golden_id, coverage=coverage
    )


def _other_versions(manifest: Manifest) -> str:
    then, now = manifest.get("made_by", {}), dataset.made_by()
    other = [f"{k} {then.get(k)} (here {now[k]})" for k in now if then.get(k) != now[k]]
    return f": it was made by {', '.join(other)}" if other else ""
