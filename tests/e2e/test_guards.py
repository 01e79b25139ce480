"""The judge and the forgetting guard through the real server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import openai
import pytest

from tests.e2e.server import Server
from training.data.examples import Message
from training.evaluation import forgetting, judge
from training.evaluation.judge import Pair
from training.recipe.forgetting import ForgettingConfig
from training.recipe.judge import JudgeConfig
from training.recipe.recipe import EvaluationConfig

pytestmark = pytest.mark.e2e
RULES = EvaluationConfig(resamples=400)
PAIRS = [
    Pair(f"c{n}", "suggestion", (Message("user", f"customer: my order {n} is late"),), left, right)
    for n, (left, right) in enumerate(
        [("I am sorry. Let me look.", "No."), ("What?", "It arrives on Friday."), ("Yes.", "No.")]
    )
]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key=server.keys["trainer"], max_retries=0
    ) as found:
        yield found


@pytest.fixture(scope="module")
def general() -> forgetting.General:
    found = forgetting.read(None)
    return forgetting.General(found.hash, found.prompts[::4])


async def test_a_model_that_knows_no_judging_still_gives_verdicts(
    client: openai.AsyncOpenAI,
) -> None:
    prompt = judge.template(None)
    free = JudgeConfig(constrained=False)
    constrained = await judge.judge(client, "base", prompt, PAIRS, JudgeConfig(), RULES)
    babble = await judge.judge(client, "base", prompt, PAIRS, free, RULES)
    assert all(verdict.winner is not None for verdict in constrained)
    assert any(verdict.winner is None for verdict in babble)


async def test_the_base_forgot_nothing_of_itself(
    client: openai.AsyncOpenAI, general: forgetting.General
) -> None:
    found = await forgetting.measure(client, "base", "base", general, ForgettingConfig(), RULES)
    assert found.drop.mean == pytest.approx(0, abs=1e-3)
    assert found.changed.mean == 0


async def test_a_candidate_of_noise_is_seen_to_forget(
    server: Server,
    client: openai.AsyncOpenAI,
    general: forgetting.General,
    register: Callable[..., str],
    base_model: Path,
) -> None:
    version = register(server, "care", strength=8.0)
    found = await forgetting.measure(client, "base", version, general, ForgettingConfig(), RULES)
    assert found.drop.low > 0.1
    assert found.changed.low > 0.5
    reason = forgetting.reason(ForgettingConfig(margin=0.1), found)
    assert reason is not None
    assert not reason.passed


async def test_a_reading_is_what_the_engine_said_while_it_wrote(
    client: openai.AsyncOpenAI, general: forgetting.General
) -> None:
    messages = general.prompts[0]
    golden = await forgetting._answer(client, "base", messages, 12, RULES)
    reading = await forgetting._read(client, "base", golden, RULES)
    written = await client.chat.completions.create(
        model="base",
        messages=[{"role": m.role, "content": m.content} for m in messages],  # type: ignore[misc]
        temperature=0,
        max_tokens=12,
        logprobs=True,
    )
    logprobs = written.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    said = [token.logprob for token in logprobs.content]
    assert reading.logprobs[: len(said)] == pytest.approx(said, abs=1e-3)
    assert all(reading.first)
