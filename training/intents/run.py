"""From the store to proposals, and to a published classifier."""

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from serving.config.settings import Settings
from serving.errors import InvalidRequest
from serving.intents import published
from serving.intents.published import Published
from serving.store import audit
from serving.store.database import Database
from training.errors import TooLittleData
from training.intents import evaluation, material
from training.intents.clusters import MOST, clusters
from training.intents.embedding import embedded
from training.intents.evaluation import Evaluation
from training.intents.fitting import fit
from training.intents.material import Kind
from training.intents.proposals import Proposal, proposals


@dataclass(frozen=True)
class Proposed:
    """Candidates for a line's list of intents.

    Args:
        source: What they are made from: free intents of insights, or customers' first turns.
        embedded_by: The model, or `words`.
        conversations: How many were read.
        left: Conversations in groups that are too small.
        unread: Conversations whose prompt does not tell who said what.
        intents: The candidates.
    """

    source: Kind
    embedded_by: str
    conversations: int
    left: int
    unread: int
    intents: tuple[Proposal, ...]


@dataclass(frozen=True)
class Trained:
    """A published classifier, with what it learned from and what it is worth."""

    published: Published
    learned: int
    by_intent: dict[str, int]
    evaluation: Evaluation


async def propose(
    db: Database,
    settings: Settings,
    lob: str,
    *,
    least: int,
    most: int = MOST,
    since: float | None = None,
) -> Proposed:
    """Cluster why a line's customers came; nothing is changed but the audit.

    Args:
        db: The store.
        settings: The server's configuration.
        lob: The line of business.
        least: Conversations that a candidate needs.
        most: Conversations that are read at most, the newest.
        since: The earliest `created_at`, itself included.

    Raises:
        TooLittleData: There is nothing to cluster.
        SwitchboardError: The embedding model does not answer.
    """
    settings.require_lob(lob)
    found = await material.proposed_from(db, lob, most=most, since=since)
    counts = Counter(one.text for one in found.said)
    if not counts:
        raise TooLittleData(
            f"{lob} has neither free intents nor customers' turns that can be read"
            + (f" ({found.unread} conversations of other prompts)" if found.unread else "")
        )
    texts, numbers = list(counts), list(counts.values())
    vectors, by = await embedded(settings, texts)
    labels = await asyncio.to_thread(clusters, vectors)
    made = proposals(texts, numbers, vectors, labels, least=least)
    detail = {"by": audit.operator(), "conversations": len(found.said), "intents": len(made)}
    await audit.write(db, None, "propose_intents", lob, detail)
    return Proposed(
        source=found.kind,
        embedded_by=by,
        conversations=len(found.said),
        left=len(found.said) - sum(one.count for one in made),
        unread=found.unread,
        intents=tuple(made),
    )


async def train(
    db: Database, settings: Settings, lob: str, *, holdout: float, salt: str
) -> Trained:
    """Train a line's classifier from confirmed and corrected intents, evaluate and publish it.

    Args:
        db: The store.
        settings: The server's configuration.
        lob: The line of business.
        holdout: Share of the conversations that only judge.
        salt: Of the hash that draws them.

    Raises:
        InvalidRequest: The line has no list of intents.
        TooLittleData: There are too few corrections.
        Unavailable: It cannot be written.
    """
    settings.require_lob(lob)
    listed = settings.lobs[lob].insights.intents
    if listed is None:
        raise InvalidRequest(
            f"{lob} has no list of intents: configure lobs.{lob}.insights.intents; "
            f"`switchboard intents propose {lob}` suggests some."
        )
    found = [one for one in await material.labelled(db, lob) if one.intent in {*listed, None}]
    learned, held_out = evaluation.divided(lob, found, holdout, salt)
    turns, intents = [one.turns for one in learned], [one.intent for one in learned]
    classifier = await asyncio.to_thread(fit, turns, intents)
    judged = evaluation.evaluate(classifier, held_out)
    report: dict[str, Any] = {"learned": len(learned), **asdict(judged)}
    live = await asyncio.to_thread(
        published.publish,
        settings.adapters.uri,
        lob,
        classifier,
        intents=tuple(listed),
        prefers=judged.prefers,
        report=report,
    )
    detail = {"by": audit.operator(), "classifier": live.sha256, "learned": len(learned)}
    await audit.write(db, None, "train_intents", lob, detail)
    by_intent = Counter("none" if one is None else one for one in intents)
    return Trained(live, len(learned), dict(sorted(by_intent.items())), judged)
