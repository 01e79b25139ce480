"""What is fitted says what scikit-learn's own model says."""

import numpy as np
import pytest

from serving.intents.features import terms, text_of
from training.errors import TooLittleData
from training.intents.fitting import INVERSE_PENALTY, fit

SAID = {
    "late": ["my parcel is late", "the parcel is not here", "late parcel again"],
    "refund": ["refund my money", "i want a refund", "money back please, a refund"],
    None: ["hello there", "just saying hello", "hello hello there"],
}


def rows(*names: str | None) -> tuple[list[list[str]], list[str | None]]:
    pairs = [([text], name) for name in names for text in SAID[name]]
    return [turns for turns, _ in pairs], [name for _, name in pairs]


@pytest.mark.parametrize("names", [("late", "refund"), ("late", "refund", None)])
def test_probabilities_are_those_of_scikit_learn(names: tuple[str | None, ...]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    turns, intents = rows(*names)
    made = fit(turns, intents)
    weigh = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2)
    features = weigh.fit_transform([text_of(one) for one in turns])
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    model.fit(features, [made.intents.index(one) for one in intents])
    for text in ("a late refund", "hello", "my parcel", "unheard of"):
        said = made.guess([text])
        assert said is not None
        expected = model.predict_proba(weigh.transform([text_of([text])]))[0]
        assert said.intent == made.intents[int(expected.argmax())]
        assert said.probability == pytest.approx(float(expected.max()), abs=1e-4)


def test_it_learns_what_it_is_shown() -> None:
    turns, intents = rows("late", "refund", None)
    made = fit(turns, intents)
    assert [made.guess(one)[0] for one in turns] == intents  # type: ignore[index]
    assert made.weights.dtype == np.float32


def test_what_one_conversation_alone_said_is_not_in_it() -> None:
    turns, intents = rows("late", "refund")
    made = fit([*turns, ["anna miller wants a refund"]], [*intents, "refund"])
    assert "refund" in made.vocabulary
    assert not {"anna", "miller"} & made.vocabulary.keys()


def test_too_little_says_what_is_missing() -> None:
    with pytest.raises(TooLittleData, match="two intents"):
        fit(*rows("late"))
    with pytest.raises(TooLittleData, match="no word"):
        fit([["one"], ["other"]], ["late", "refund"])
