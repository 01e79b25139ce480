"""Real spaCy pipelines that know the names that a test gives them, so nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path

import spacy


def save(folder: Path, *names: str, label: str = "PERSON") -> str:
    """Write a pipeline that marks these names, wherever they stand, and return its folder."""
    nlp = spacy.blank("en")
    patterns: Sequence[dict[str, str]] = [{"label": label, "pattern": name} for name in names]
    nlp.add_pipe("entity_ruler").add_patterns(list(patterns))
    nlp.to_disk(folder)
    return str(folder)
