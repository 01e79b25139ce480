"""A student's dataset: a larger model's well-rated outputs, for a smaller model to learn.

Distillation by data: the student imitates what agents used, rated highly or hardly edited, and so
needs neither the teacher's weights nor its probabilities, nor the same tokenizer (Kim and Rush,
"Sequence-Level Knowledge Distillation", EMNLP 2016, with people in place of the beam).

It is judged on the teacher's own hold-out, by the agents' final texts, so that both stand in one
table; and it learns only from conversations that the teacher's newest dataset learned from or left
out by its age, so that none of them judges now or later.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from serving.store import datasets as dataset_rows
from serving.store import interactions
from serving.store.database import Database
from serving.store.records import LabelledInteraction
from training.data import dataset, dedup, repository, sampling, splits
from training.data.curation import Curated
from training.data.dataset import Dataset
from training.data.examples import (
    Source,
    Verdict,
    contradicts_itself,
    conversation,
    example,
    finished_or_edited,
    judged,
    may_teach,
    plain_messages,
    redacted,
    suspected,
)
from training.data.streaming.candidates import FilterCount
from training.data.streaming.sources import sources
from training.errors import DatasetError, RecipeError, TooLittleData
from training.metrics.text import edit_similarity
from training.recipe.curation import CurationConfig
from training.recipe.distillation import StudentConfig


async def build(
    db: Database, lob: str, rules: CurationConfig, student: StudentConfig, root: Path
) -> Dataset:
    """Build a student's dataset from its teacher's store, and note it in the student's.

    Args:
        db: The student's store.
        lob: The line of business, in both stores.
        rules: The recipe's curation.
        student: The recipe's student.
        root: Folder of all datasets.

    Raises:
        DatasetError: The teacher has no dataset to be judged on, or its files are gone.
        TooLittleData: There are too few well-rated outputs.
        RecipeError: `student.store` names an environment variable that is not set.
    """
    teacher = Database(_url(student.store))
    await teacher.open()
    try:
        found = await dataset_rows.parts(teacher, lob, "feedback", "splits")
        if not found:
            raise DatasetError(
                f"{lob} has no dataset in student.store, whose hold-out would judge the student. "
                f"Fix: switchboard dataset build {lob}, with the teacher's configuration"
            )
        held = await repository.find(teacher, found[-1][0])
        labelled = await interactions.labelled(teacher, lob=lob)
    finally:
        await teacher.close()
    curated = curate(lob, labelled, rules, student, held)
    ids = {one.interaction_id for one in curated.train}
    taught = sources(item for item in labelled if any(one.id in ids for one, _ in judged(item)))
    source = {
        **student.model_dump(mode="json", exclude={"store"}),
        "held_out_of": held.id,
        "rows": taught,
    }
    built = dataset.write(lob, curated, rules, root, kind="student", sources=source)
    await repository.note(db, lob, built)
    return built


def _url(store: str) -> str:
    name = store[2:-1] if store.startswith("${") and store.endswith("}") else None
    if name is None:
        return store
    if name not in os.environ:
        raise RecipeError(f"student.store: the environment variable {name} is not set")
    return os.environ[name]


def curate(
    lob: str,
    labelled: Sequence[LabelledInteraction],
    rules: CurationConfig,
    student: StudentConfig,
    held: Dataset,
) -> Curated:
    """Choose what a student learns; the teacher's hold-out is what judges it.

    Args:
        lob: The line of business, for the message when data is too little.
        labelled: The teacher's interactions with their feedback.
        rules: The recipe's curation.
        student: The recipe's student.
        held: The teacher's newest dataset.

    Raises:
        TooLittleData: Fewer well-rated outputs or conversations than the rules ask for.
    """
    counts: list[FilterCount] = []

    def keep(name: str, before: int, after: int) -> None:
        counts.append(FilterCount(name, after, before - after))

    begins: dict[str, float] = {}
    for item in labelled:
        name, at = conversation(item.interaction), item.interaction.created_at
        begins[name] = min(begins.get(name, at), at)
    drawn = CurationConfig.model_validate(held.manifest["rules"])
    past = splits.Past(rates=splits.rates([held.manifest["splits"]], drawn))
    judges = {e.conversation_id for e in held.holdout}
    judges |= set(held.manifest["splits"]["golden_conversations"])

    mine = [item for item in labelled if student.teacher in (None, item.interaction.version)]
    keep("by the teacher", len(labelled), len(mine))
    open_ = [
        item
        for item in mine
        if (name := conversation(item.interaction)) not in judges
        and not splits.is_drawn(lob, name, begins[name], drawn, past)
    ]
    keep("in no conversation that judges", len(mine), len(open_))
    clean = [item for item in open_ if not suspected(item.interaction)]
    keep("no suspected injection", len(open_), len(clean))
    candidates = [one for item in clean for one in judged(item)]
    usable = [
        (interaction, said)
        for interaction, said in candidates
        if interaction.task in rules.tasks and plain_messages(interaction) is not None
    ]
    keep("task, plain text", len(candidates), len(usable))
    examples = [
        example(interaction, said, source)
        for interaction, said in usable
        if finished_or_edited(interaction, said)
        and (student.teacher is not None or may_teach(interaction, said))
        and (source := well_rated(interaction.output, said, rules, student)) is not None
    ]
    keep("used, rated highly or hardly edited", len(usable), len(examples))

    examples.sort(key=lambda e: (e.created_at, e.interaction_id))
    redactions: dict[str, int] = {}
    if rules.redact:
        examples, redactions = redacted(examples)
    new = dedup.first_of_each(examples, held.holdout, rules.near_duplicate_similarity)
    keep("no near-duplicate", len(examples), len(new))
    fewer = sampling.fewer_greetings(new, rules.greeting_share, sampling.is_greeting_or_closing)
    keep("a share of greetings and closings", len(new), len(fewer))
    learned = sampling.capped(fewer, rules.agent_share, rules.min_examples)
    keep("a share of each agent", len(fewer), len(learned))
    conversations = len({e.conversation_id for e in learned})
    if len(learned) < rules.min_examples or conversations < rules.min_conversations:
        raise TooLittleData(
            f"{lob}: {len(learned)} well-rated outputs of {student.teacher or 'any version'} in "
            f"{conversations} conversations; {rules.min_examples} in {rules.min_conversations} are "
            "needed"
        )
    return Curated(
        tuple(learned), (), held.holdout, (), tuple(counts), redactions, max(begins.values())
    )


def well_rated(
    output: str, said: Verdict, rules: CurationConfig, student: StudentConfig
) -> Source | None:
    """Return what kind of target an output is for a student, or None if it is none.

    Args:
        output: The teacher's output.
        said: What all feedback on it says together.
        rules: The recipe's curation.
        student: The recipe's student.
    """
    if said.edit is not None:
        kept = said.edit.strip() and edit_similarity(output, said.edit) >= student.kept_at_least
        return "edit" if kept else None
    if not output.strip() or said.rejected or contradicts_itself(said, rules):
        return None
    if said.rating is not None:
        return "rating" if said.rating >= student.rating_at_least else None
    return "rating" if said.used and student.used else None
