"""A model as judge: asks an OpenAI-compatible server which of two texts is better, twice.

Each pair is asked in both orders, greedily; `training.evaluation.verdicts` says what the two
answers mean together. The answer may be constrained to A, B and tie, so that even a small model
gives one that can be read.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import openai
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving import untrusted_text
from training.data.examples import Message
from training.errors import EvaluationFailed, RecipeError
from training.evaluation import verdicts
from training.evaluation.verdicts import Verdict, Word
from training.recipe.judge import JudgeConfig
from training.recipe.recipe import EvaluationConfig

DEFAULT_TEMPLATE = Path(__file__).with_name("judge.jinja")
_BLOCKS = ("system", "user")
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Pair:
    """Two texts for one prompt.

    Args:
        conversation_id: The conversation, within which verdicts are not independent.
        task: suggestion, summary, …
        messages: What the writers saw.
        left: One text.
        right: The other.
    """

    conversation_id: str
    task: str
    messages: tuple[Message, ...]
    left: str
    right: str


@dataclass(frozen=True)
class Template:
    """A judge's prompt: a text that its hash names."""

    source: str

    @property
    def hash(self) -> str:
        """The first digits of the source's sha256."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:_HASH_DIGITS]

    def render(self, pair: Pair, *, swapped: bool = False) -> list[dict[str, str]]:
        """Return the chat messages that ask about a pair.

        The lines of both texts, and the further lines of a message, are marked: none can pass for
        the form around it.

        Args:
            pair: The texts.
            swapped: Whether right is shown as A.

        Raises:
            jinja2.TemplateError: The source does not fit.
        """
        a, b = (pair.right, pair.left) if swapped else (pair.left, pair.right)
        seen = [replace(m, content=untrusted_text.continued(m.content)) for m in pair.messages]
        context = self._parsed.new_context(
            {
                "task": pair.task,
                "messages": seen,
                "a": untrusted_text.quoted(a),
                "b": untrusted_text.quoted(b),
            }
        )
        found = {
            name: "".join(block(context)).strip() for name, block in self._parsed.blocks.items()
        }
        return [{"role": role, "content": found[role]} for role in _BLOCKS if found.get(role)]

    @cached_property
    def _parsed(self) -> jinja2.Template:
        return _ENVIRONMENT.from_string(self.source)


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


def template(path: Path | None) -> Template:
    """Read a judge's prompt and try it.

    Args:
        path: The file; None takes the one that comes with Switchboard.

    Raises:
        RecipeError: It cannot be read, does not parse, or does not show both texts.
    """
    file = path or DEFAULT_TEMPLATE
    sample = Pair("c", "summary", (Message("user", "hello"),), "left text", "right text")
    try:
        found = Template(file.read_text(encoding="utf-8"))
        words = " ".join(message["content"] for message in found.render(sample))
    except (OSError, UnicodeDecodeError) as exc:
        raise RecipeError(f"judge.template: {file}: cannot be read ({exc})") from exc
    except jinja2.TemplateError as exc:
        raise RecipeError(f"judge.template: {file}: {exc}") from exc
    if sample.left not in words or sample.right not in words:
        raise RecipeError(
            f"judge.template: {file}: does not show both texts. Fix: use {{{{ a }}}} and "
            "{{ b }} in {% block user %}"
        )
    return found


@asynccontextmanager
async def client(rules: JudgeConfig, own: openai.AsyncOpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield the client of the judge's server.

    Args:
        rules: The recipe's section.
        own: A client of the server that is evaluated.

    Raises:
        RecipeError: The variable that should hold the key does not.
    """
    if rules.url is None:
        yield own
        return
    key = "none" if rules.api_key_env is None else os.environ.get(rules.api_key_env)
    if not key:
        raise RecipeError(f"judge.api_key_env: {rules.api_key_env} is not set")
    async with openai.AsyncOpenAI(base_url=rules.url, api_key=key, max_retries=4) as other:
        yield other


async def judge(
    client: openai.AsyncOpenAI,
    model: str,
    prompt: Template,
    pairs: Sequence[Pair],
    rules: JudgeConfig,
    evaluation: EvaluationConfig,
) -> list[Verdict]:
    """Return the verdict on each pair, in their order.

    Args:
        client: A client of the judge's server.
        model: The judge.
        prompt: How it is asked.
        pairs: What it is asked about; pairs of the same text are ties without asking.
        rules: Constraint and length of the answer.
        evaluation: Seed, concurrency and timeout.

    Raises:
        EvaluationFailed: The judge does not answer, or its server refuses every question.
    """
    slots = asyncio.Semaphore(evaluation.concurrency)
    constraint: dict[str, Any] = (
        {"structured_outputs": {"choice": list(verdicts.WORDS)}} if rules.constrained else {}
    )
    refusals: list[openai.BadRequestError] = []

    async def ask(pair: Pair, *, swapped: bool) -> Word | None:
        try:
            async with slots:
                answer = await client.chat.completions.create(
                    model=model,
                    messages=prompt.render(pair, swapped=swapped),  # type: ignore[arg-type]
                    temperature=0,
                    max_tokens=rules.max_tokens,
                    seed=evaluation.seed,
                    timeout=evaluation.timeout_s,
                    extra_body=constraint,
                )
        except openai.BadRequestError as exc:  # such as a conversation beyond the judge's context
            refusals.append(exc)
            return None
        return verdicts.parse(answer.choices[0].message.content or "")

    differing = [pair for pair in pairs if not _same(pair)]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                (
                    group.create_task(ask(pair, swapped=False)),
                    group.create_task(ask(pair, swapped=True)),
                )
                for pair in differing
            ]
    except* openai.OpenAIError as errors:
        raise EvaluationFailed(
            f"the judge {model} could not be asked: {errors.exceptions[0]}"
        ) from errors
    asked = [verdicts.merge(forward.result(), backward.result()) for forward, backward in tasks]
    if refusals and all(verdict.winner is None for verdict in asked):
        raise EvaluationFailed(
            f"the judge {model} refuses every question: {refusals[0]}. If its server does not know "
            "structured_outputs, set judge.constrained: false"
        ) from refusals[0]
    found = iter(asked)
    return [verdicts.IDENTICAL if _same(pair) else next(found) for pair in pairs]


def check(rules: JudgeConfig, lob: str) -> None:
    """Refuse a judge that learned from the feedback by which it would be judged.

    Args:
        rules: The recipe's section.
        lob: The line of business.

    Raises:
        RecipeError: The judge is a version of the line itself.
    """
    if rules.url is None and (rules.model or "").partition("@")[0] == lob:
        raise RecipeError(
            f"judge.model: {rules.model} learned from the feedback of {lob}, so it would agree "
            "with it by heart. Fix: take the base, or a model that knows nothing of it"
        )


def _same(pair: Pair) -> bool:
    return pair.left.strip() == pair.right.strip()
