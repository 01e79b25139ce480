"""A classifier of intents from labelled conversations: logistic regression over TF-IDF.

Multinomial logistic regression with an L2 penalty by L-BFGS (scikit-learn). The penalty is weak,
as rows of length 1 need it; it was not tuned. Words of one conversation alone are left out, so that
nothing that only one person said is in the artifact.
"""

from collections.abc import Sequence

import numpy as np

from serving.intents.classifier import Classifier, Intent
from serving.intents.features import terms, text_of
from training.errors import TooLittleData

INVERSE_PENALTY = 10.0
STEPS = 1_000


def fit(turns: Sequence[Sequence[str]], intents: Sequence[Intent]) -> Classifier:
    """Train a classifier.

    Args:
        turns: What the customer said in each of n conversations.
        intents: (n,) their intents.

    Raises:
        TooLittleData: There are fewer than two intents, or no word is in two conversations.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    names = sorted(set(intents), key=lambda name: (name is None, name or ""))
    if len(names) < 2:
        raise TooLittleData(
            f"a classifier needs two intents at least; there are examples of {len(names)}"
        )
    weigh = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2)
    try:
        rows = weigh.fit_transform([text_of(one) for one in turns])
    except ValueError as exc:
        raise TooLittleData("no word is in two conversations: there are too few") from exc
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=STEPS)
    model.fit(rows, [names.index(intent) for intent in intents])
    weights, bias = model.coef_, model.intercept_
    if len(names) == 2:  # one row says the second's odds
        weights = np.vstack([np.zeros_like(weights), weights])
        bias = np.concatenate([[0.0], bias])
    return Classifier(
        intents=tuple(names),
        vocabulary={term: int(place) for term, place in weigh.vocabulary_.items()},
        idf=weigh.idf_.astype(np.float32),
        weights=np.ascontiguousarray(weights, np.float32),
        bias=np.asarray(bias, np.float32),
    )
