"""What Presidio's recognizers find, for `pii.py`: texts as JSON in, spans as JSON out.

Runs in an environment of its own (`requirements.txt`). spaCy's blank English model has no names of
people and places, so what is compared is what has a form.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

logging.disable(logging.CRITICAL)


class Blank(SpacyNlpEngine):
    """A tokenizer and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.nlp = {"en": spacy.blank("en")}

    def load(self) -> None:
        """Nothing is loaded: the model is blank."""


analyzer = AnalyzerEngine(nlp_engine=Blank(), supported_languages=["en"])
texts = json.load(sys.stdin)
began = time.perf_counter()
spans = [
    [(found.start, found.end, found.entity_type) for found in analyzer.analyze(text, language="en")]
    for text in texts
]
json.dump({"seconds": time.perf_counter() - began, "spans": spans}, sys.stdout)
