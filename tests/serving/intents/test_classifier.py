"""A classifier is bytes without code, and says no more than it may."""

import numpy as np
import orjson
import pytest
from safetensors.numpy import load, save

from serving.errors import ConfigError
from serving.intents.classifier import Classifier

MADE = Classifier(
    intents=("late", "refund", None),
    vocabulary={"parcel": 0, "money": 1, "hello": 2},
    idf=np.ones(3, np.float32),
    weights=np.eye(3, dtype=np.float32) * 3,
    bias=np.zeros(3, np.float32),
)


def test_the_likeliest_intent_comes_with_its_probability() -> None:
    said = MADE.guess(["My parcel!"])
    assert said is not None
    assert said.intent == "late"
    assert said.probability == pytest.approx(np.exp(3) / (np.exp(3) + 2), rel=1e-5)


def test_none_of_the_list_is_an_answer() -> None:
    said = MADE.guess(["hello"])
    assert said is not None
    assert said.intent is None


def test_only_what_may_be_said_is_said() -> None:
    said = MADE.guess(["parcel"], ["refund", None])
    assert said is not None
    assert said.intent in {"refund", None}
    assert said.probability == pytest.approx(0.5)
    assert MADE.guess(["parcel"], ["another"]) is None


def test_it_comes_back_from_its_bytes_as_it_was() -> None:
    again = Classifier.from_bytes(MADE.to_bytes())
    assert (again.intents, again.vocabulary) == (MADE.intents, MADE.vocabulary)
    assert again.guess(["my money"]) == MADE.guess(["my money"])


def test_what_is_no_classifier_is_refused() -> None:
    tensors = load(MADE.to_bytes())
    wrong_shape = save(tensors | {"bias": np.zeros(2, np.float32)})
    about = orjson.loads(tensors["about"].tobytes()) | {"format": 2}
    newer = save(tensors | {"about": np.frombuffer(orjson.dumps(about), np.uint8)})
    lacking = save({"bias": np.zeros(3, np.float32)})
    for data in (b"", b"\x80\x04pickle", wrong_shape, newer, lacking):
        with pytest.raises(ConfigError):
            Classifier.from_bytes(data)
