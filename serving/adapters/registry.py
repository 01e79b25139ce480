"""The adapter registry: files and rows kept in step.

A version's number is reserved first and never given out again; its files are published next; its
row comes last, in one transaction. Killed at any moment, this leaves either a whole version or
none, and at most a folder that no row knows, which `Registry.sweep` removes a day later.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path

from serving import names
from serving.adapters import artifacts, prompts, upstreams
from serving.errors import InvalidRequest
from serving.store import adapter_versions as versions
from serving.store import routes
from serving.store.database import Database
from serving.store.records import Action, AdapterVersion, Json, Rollout, Route
from serving.store.routes import KEEP, Keep

__all__ = ["KEEP", "Registry"]

ORPHAN_AGE_S = 24 * 3600

_FOLDER = re.compile(r"([1-9][0-9]{0,8})|\.([1-9][0-9]{0,8})\.[0-9a-f]{32}\.part")


class Registry:
    """The versions of all lines of business, and which of them answer.

    Args:
        db: The store, open.
        root_uri: Where the files are published: a local folder or any fsspec URL.
    """

    def __init__(self, db: Database, root_uri: str | Path) -> None:
        self._db = db
        self._root_uri = str(root_uri)

    async def reserve(self, lob: str) -> int:
        """Return the next number of `lob`; it is never returned again.

        Raises:
            InvalidRequest: There can be no line of business of this name.
        """
        if not names.valid_lob(lob):
            raise InvalidRequest(
                f"{lob!r} cannot name a line of business: use a-z, 0-9, _ and -, "
                "32 at most, a letter first",
                param="lob",
            )
        return await versions.reserve(self._db, lob)

    async def register(
        self,
        lob: str,
        number: int,
        folder: Path,
        *,
        parent: str | None,
        base_model: str,
        base_hash: str,
        dataset_id: str | None,
        recipe: Json,
        metrics: Json,
        rank: int,
        decision: Json | None = None,
        key_id: str | None = None,
    ) -> AdapterVersion:
        """Publish an adapter's folder and register it as a candidate.

        Whether it brings prompts of its own, and who answers for it, is read from the folder.

        Args:
            lob: The line of business.
            number: What `reserve` gave.
            folder: The PEFT folder; it is copied.
            parent: The version that was live when the training began, None for the base.
            base_model: The base's name.
            base_hash: Its `artifacts.model_hash`.
            dataset_id: The dataset's id in the store.
            recipe: How it was trained.
            metrics: How good it is.
            rank: Its LoRA rank; 0 without weights.
            decision: What the gate said.
            key_id: Who did it.

        Raises:
            AdapterRefused: The folder holds anything but plain files and prompts that can be used,
                or does not say which upstream answers.
            Conflict: The number was not reserved, or is taken; or the dataset is unknown.
            Unavailable: The files or the row cannot be written now.
        """
        name = names.version_name(lob, number)
        own = await asyncio.to_thread(prompts.of_folder, Path(folder), name)
        other = await asyncio.to_thread(upstreams.of_folder, Path(folder))
        uri, manifest_hash = await asyncio.to_thread(
            artifacts.publish, Path(folder), self._root_uri, lob, number
        )
        return await versions.add(
            self._db,
            key_id,
            lob=lob,
            number=number,
            name=name,
            parent=parent,
            base_model=base_model,
            base_hash=base_hash,
            dataset_id=dataset_id,
            recipe=recipe,
            metrics=metrics,
            decision=decision or {},
            uri=uri,
            manifest_hash=manifest_hash,
            rank=rank,
            prompts=prompts.described(own),
            upstream=other.described if other else None,
        )

    async def get(self, name: str) -> AdapterVersion | None:
        """Return a version, or None if there is none of this name."""
        return await versions.get(self._db, name)

    async def list(self, lob: str | None = None) -> list[AdapterVersion]:
        """Return all versions, or those of one line of business, oldest first."""
        return await versions.list_all(self._db, lob)

    async def set_metrics(self, name: str, metrics: Json, decision: Json | None = None) -> None:
        """Note how good a version is, and what the gate said; raises NotFound."""
        await versions.set_metrics(self._db, name, metrics, decision)

    async def reject(self, name: str, decision: Json, *, key_id: str | None = None) -> None:
        """Turn a candidate down; raises NotFound, or Conflict if it serves or has served."""
        await versions.reject(self._db, name, decision, key_id)

    async def routes(self) -> dict[str, Route]:
        """Return the present routes by line of business; one without a route has the base."""
        return await routes.get_all(self._db)

    async def switch(
        self,
        lob: str,
        *,
        live: str | Keep | None = KEEP,
        canary: str | Keep | None = KEEP,
        share: float | Keep = KEEP,
        action: Action | str,
        key_id: str | None = None,
        force: bool = False,
    ) -> Route:
        """Change a route and all that follows from it, in one transaction: `routes.switch`."""
        return await routes.switch(
            self._db,
            lob,
            live=live,
            canary=canary,
            share=share,
            action=action,
            key_id=key_id,
            force=force,
        )

    async def previous_live(self, lob: str) -> str | None:
        """Return what a rollback of `lob` leads to; None is the base model."""
        return routes.previous_live(await routes.history(self._db, lob))

    async def history(self, lob: str | None = None) -> Sequence[Rollout]:
        """Return what happened to the routes, oldest first."""
        return await routes.history(self._db, lob)

    async def record_seconds(self, lob: str, epoch: int, seconds: float) -> None:
        """Note how long the rollout that led to `epoch` took."""
        await routes.record_seconds(self._db, lob, epoch, seconds)

    async def sweep(self, age_s: float = ORPHAN_AGE_S) -> Sequence[str]:
        """Remove the folders that no version knows and that nobody touched for `age_s` seconds.

        Returns:
            The folders removed.
        """
        known = {(version.lob, version.number) for version in await self.list()}
        return await asyncio.to_thread(self._sweep, known, time.time() - age_s)

    def _sweep(self, known: set[tuple[str, int]], before: float) -> Sequence[str]:
        filesystem, root = artifacts.filesystem_of(self._root_uri)
        removed = []
        for folder in filesystem.glob(f"{root.rstrip('/')}/*/*"):
            lob, name = folder.rstrip("/").split("/")[-2:]
            match = _FOLDER.fullmatch(name)
            if match is None or not names.valid_lob(lob):
                continue
            files = filesystem.find(folder) or [folder]
            if (match[1] and (lob, int(match[1])) in known) or any(
                filesystem.modified(file).timestamp() > before for file in files
            ):
                continue
            filesystem.rm(folder, recursive=True)
            removed.append(folder)
        return removed
