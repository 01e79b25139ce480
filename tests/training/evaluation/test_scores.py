import pytest

from training.data.examples import Example, Message
from training.evaluation import scores
from training.evaluation.generate import Output
from training.recipe.recipe import EvaluationConfig
from training.stats.proportions import clopper_pearson, wilson


def example(conversation: str) -> Example:
    message = Message("user", "customer: my order is late")
    return Example(
        "i", conversation, 1.0, "summary", None, None, "edit", (message,), "shown", "It is late."
    )


def test_rates_count_conversations_and_cut_offs_count_outputs() -> None:
    """Two of three conversations hold a number that nobody named, one of them twice."""
    examples = [example(name) for name in ("a", "a", "b", "c")]
    texts = [("Order 77.", "stop"), ("Order 78.", "stop"), ("Late.", "length"), ("In 5.", "stop")]
    outputs = [Output(text, reason, 3) for text, reason in texts]
    found = scores.score("m", examples, outputs, EvaluationConfig(resamples=200))
    assert found.means["unsupported_facts"].mean == pytest.approx(0.75)
    assert found.rates == {"unsupported_facts": clopper_pearson(2, 3)}
    assert found.cut_off == wilson(1, 4)
    assert found.as_json()["rates"]["unsupported_facts"]["count"] == 3
