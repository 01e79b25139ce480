"""Which version answers: the decision for each request, with no I/O.

A `model` is the base's name, a line of business (its live version, or for a stable share of
conversations its canary), or a pinned version such as ``care@7``. The table is replaced whole, in
one assignment, so a request sees either the old one or the new one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from serving.draws import in_canary
from serving.errors import NotFound
from serving.names import parse_version
from serving.store.records import Route


@dataclass(frozen=True, slots=True)
class Target:
    """The version chosen for a request.

    `version` is what the engine is asked for and what the response names; `lob` is None for the
    base model asked for by name; `pinned` says that the client chose the version.
    """

    version: str
    lob: str | None
    pinned: bool

    @property
    def adapter(self) -> str | None:
        """The version as the adapter that the engine needs; None is the base."""
        return self.version if "@" in self.version else None


class Table:
    """An immutable routing table.

    Args:
        base: The base model's served name.
        lobs: The configured lines of business.
        routes: What is live and what is on canary, by line of business; absent means the base.
    """

    def __init__(self, base: str, lobs: Iterable[str], routes: Mapping[str, Route]) -> None:
        self.base = base
        self.lobs = frozenset(lobs)
        self.routes = MappingProxyType(dict(routes))
        self._base_target = Target(base, None, True)

    def resolve(self, model: str, conversation_id: str) -> Target:
        """Choose the version for a request.

        Args:
            model: What the client asked for.
            conversation_id: Keeps a conversation on one side of a canary; "" where the client
                named none: then the live version answers.

        Raises:
            NotFound: The name is neither the base, a line of business, nor shaped as a version.
        """
        if model == self.base:
            return self._base_target
        if model in self.lobs:
            return Target(self._of_lob(model, conversation_id), model, False)
        lob, _, _ = model.partition("@")
        if lob in self.lobs and lob != model:
            parse_version(model)
            return Target(model, lob, True)
        raise NotFound(
            f"The model `{model}` does not exist. Ask /v1/models for the names.", param="model"
        )

    def lob_of(self, model: str) -> str | None:
        """The line of business that a model belongs to; None for the base.

        Raises:
            NotFound: As `resolve`.
            InvalidRequest: As `resolve`.
        """
        return self.resolve(model, "").lob

    def pins(self, model: str) -> bool:
        """Whether a model is one version of a line's adapter."""
        return model != self.base and model not in self.lobs

    def _of_lob(self, lob: str, conversation_id: str) -> str:
        route = self.routes.get(lob)
        if route is None:
            return self.base
        if route.canary and in_canary(route.canary, route.canary_share, conversation_id):
            return route.canary
        return route.live or self.base

    def serving(self) -> set[str]:
        """The adapter versions that an alias can lead to: live ones and canaries."""
        return {v for r in self.routes.values() for v in (r.live, r.canary) if v}

    def updated(self, routes: Iterable[Route]) -> "Table":
        """A table with newer routes; one with an older epoch than ours changes nothing."""
        merged = dict(self.routes)
        for route in routes:
            known = merged.get(route.lob)
            if known is None or route.epoch >= known.epoch:
                merged[route.lob] = route
        return Table(self.base, self.lobs, merged)
