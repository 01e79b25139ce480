from pathlib import Path
from typing import Any

import openai
import pytest

from tests.training.evaluation.test_judge import longer
from tests.training.stub_server import Stub, serving
from training.data.dataset import Dataset
from training.data.examples import Example, Message
from training.errors import RecipeError
from training.evaluation import checks
from training.evaluation import scores as evaluation
from training.evaluation.checks import Findings, Judgement
from training.evaluation.generate import Output
from training.evaluation.judge_agreement import Agreement
from training.evaluation.scores import Scores
from training.evaluation.verdicts import Verdict, tally
from training.recipe.judge import JudgeConfig
from training.recipe.recipe import Recipe
from training.stats.proportions import wilson


def example(number: int) -> Example:
    messages = (Message("user", f"conversation {number}"),)
    return Example(
        interaction_id=f"i{number}",
        conversation_id=f"c{number}",
        created_at=0.0,
        task="summary",
        turn_position=None,
        version=None,
        source="edit",
        messages=messages,
        shown=f"no {number}",
        target=f"the agent's own words {number}",
    )


EXAMPLES = tuple(example(n) for n in range(20))
DATASET = Dataset("d", Path(), {}, EXAMPLES[:12], rolling=EXAMPLES[12:])


def recipe(**rules: Any) -> Recipe:
    return Recipe.model_validate(
        {"judge": {"enabled": True, **rules}, "evaluation": {"resamples": 400}}
    )


def scores(model: str, text: str) -> Scores:
    outputs = [Output(text, "stop", 1) for _ in DATASET.holdout]
    return evaluation.score(model, DATASET.holdout, outputs, recipe().evaluation)


async def find(rules: Recipe, stub: Stub) -> Findings:
    with serving(stub):
        async with openai.AsyncOpenAI(base_url=f"{stub.url}/v1", api_key="k") as client:
            return await checks.prepare(rules, "care").run(
                client,
                DATASET,
                base=scores("base", "x"),
                live=scores("care@1", "short"),
                candidate=scores("care@2", "much longer"),
            )


async def test_nothing_is_asked_by_default() -> None:
    stub = Stub(longer)
    assert await find(Recipe(), stub) == Findings()
    assert stub.models == []
    assert Findings().as_json() == {}


async def test_the_base_judges_candidate_and_live_and_is_judged_itself() -> None:
    stub = Stub(longer)
    found = await find(recipe(), stub)
    assert set(stub.models) == {"base"}
    assert len(stub.models) == 2 * (20 + 8)
    judgement = found.judgement
    assert judgement is not None
    assert judgement.agreement.share == wilson(20, 20)  # people wrote the longer text
    assert judgement.comparison.win_rate == wilson(8, 8)
    assert judgement.against == "care@1"
    assert found.reasons == ()  # reported only
    assert found.as_json()["judge"]["agreement"]["trusted"] is True


async def test_a_trusted_judge_may_decide() -> None:
    found = await find(recipe(win_rate_above=0.5), Stub(longer))
    (reason,) = found.reasons
    assert reason.passed
    assert reason.text.startswith(
        "The judge base prefers the candidate to care@1 in more than 50% of the conversations "
        "that it decides: 100%, 95% interval 68% to 100%, 8 conversations."
    )


async def test_a_judge_that_contradicts_people_decides_nothing_though_it_praises() -> None:
    """It likes long texts except people's, so the candidate would win."""

    def against_people(model: str, content: str) -> str:
        word = longer(model, content)
        return {"A": "B", "B": "A"}[word] if "the agent's" in content else word

    found = await find(recipe(win_rate_above=0.5), Stub(against_people))
    assert found.judgement is not None
    assert found.judgement.comparison.win_rate == wilson(8, 8)
    (reason,) = found.reasons
    assert not reason.passed
    assert "may not decide" in reason.text
    assert "Do not trust this judge" in reason.text
    assert "contradicts people" in reason.text


def judgement(agreed: int, asked: int, won: int, judged: int) -> Judgement:
    def count(hits: int, trials: int) -> Any:
        winners = [Verdict("left")] * hits + [Verdict("right")] * (trials - hits)
        return tally(winners, [str(n) for n in range(trials)])

    people = count(agreed, asked)
    agreement = Agreement(people.win_rate, None, {}, people)
    return Judgement("j", "h", agreement, "care@1", count(won, judged))


@pytest.mark.parametrize(
    ("agreed", "asked", "won", "judged", "floor", "passed"),
    [
        (90, 100, 30, 30, 0.6, True),
        (90, 100, 30, 30, 0.85, False),  # 0.826 is the interval's lower end
        (65, 100, 30, 30, 0.6, False),  # better than chance, but below the floor
        (90, 100, 18, 30, 0.6, False),  # not shown to be better
        (0, 0, 30, 30, 0.6, False),  # compared with nobody
        (90, 100, 0, 0, 0.6, False),  # prefers neither
    ],
)
def test_win_rates_count_only_above_the_floor_of_agreement(
    agreed: int, asked: int, won: int, judged: int, floor: float, passed: bool
) -> None:
    rules = JudgeConfig(enabled=True, win_rate_above=0.5, agreement_floor=floor)
    reason = checks.judge_reason(rules, judgement(agreed, asked, won, judged))
    assert reason is not None
    assert reason.passed is passed
    assert reason.metric == "judge_win_rate"


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ({"judge": {"enabled": True, "template": "none.jinja"}}, "judge.template"),
        ({"forgetting": {"enabled": True, "prompts": "none.jsonl"}}, "forgetting.prompts"),
    ],
)
def test_a_missing_file_is_refused_before_any_work(rules: dict[str, Any], word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        checks.prepare(Recipe.model_validate(rules), "care")
