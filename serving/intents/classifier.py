"""A linear classifier of intents: softmax over TF-IDF, as bytes that hold no code.

The form is safetensors': three tensors, and as a fourth the names as JSON. Nothing of it is run
when it is read.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load, save

from serving.errors import ConfigError
from serving.intents.features import Floats, terms, text_of, weighed

FORMAT = 1
Intent = str | None
"""None: none of the line's list fits."""


class Guess(NamedTuple):
    """What a classifier says.

    Args:
        intent: Of the line's list; None: none of it fits.
        probability: Its share of all that may be said, in (0, 1].
        model: Which classifier says it.
    """

    intent: Intent
    probability: float
    model: str = ""


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Args:
        intents: n of them.
        vocabulary: The place of each of t terms.
        idf: (t,) inverse document frequencies.
        weights: (n, t).
        bias: (n,).
    """

    intents: tuple[Intent, ...]
    vocabulary: dict[str, int]
    idf: Floats
    weights: Floats
    bias: Floats

    def guess(self, turns: Sequence[str], among: Collection[Intent] | None = None) -> Guess | None:
        """Return the likeliest intent of a conversation; None where it knows none of `among`.

        Args:
            turns: What the customer said, in order.
            among: What may be said; None: all that it knows.
        """
        may = [n for n, name in enumerate(self.intents) if among is None or name in among]
        if not may:
            return None
        places, values = weighed(terms(text_of(turns)), self.vocabulary, self.idf)
        scores = (self.bias + self.weights[:, places] @ values)[may]
        shares = np.exp(scores - scores.max())
        best = int(shares.argmax())
        return Guess(self.intents[may[best]], float(shares[best] / shares.sum()))

    def to_bytes(self) -> bytes:
        """Return it as a safetensors file."""
        words = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        names = {"format": FORMAT, "intents": self.intents, "terms": words}
        about = np.frombuffer(orjson.dumps(names), np.uint8)
        tensors = {"weights": self.weights, "bias": self.bias, "idf": self.idf, "about": about}
        data: bytes = save(tensors)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ConfigError: It is no such file.
        """
        try:
            found = load(data)
            about = orjson.loads(found["about"].tobytes())
            made = cls(
                intents=tuple(about["intents"]),
                vocabulary={term: place for place, term in enumerate(about["terms"])},
                idf=found["idf"],
                weights=found["weights"],
                bias=found["bias"],
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as exc:
            raise ConfigError(f"this is no classifier of intents: {exc}") from exc
        shape = (len(made.intents), len(made.vocabulary))
        fits = (made.weights.shape, made.bias.shape, made.idf.shape)
        if about.get("format") != FORMAT or fits != (shape, shape[:1], shape[1:]):
            raise ConfigError(f"this classifier of intents is damaged, or not of format {FORMAT}")
        return made
