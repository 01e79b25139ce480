"""A dataset's rows as token ids: those with which the server asks, and those of the answer.

The chat is rendered by the server's own template, variables and adaptations
(`serving.chat_template`), once as it is asked and once as it is answered. Every example's two
renderings are compared before training begins. TRL gets the ids and renders nothing itself.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from serving import chat_template
from serving.chat_template import ChatTemplate
from serving.untrusted_text import SpecialTokens
from training.errors import FineTuneFailed, RenderingDiffers
from training.trainers.job import Job

Row = dict[str, Any]
KWARGS = "chat_template_kwargs"
IGNORED = -100
"""The label of a token that carries no loss."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rendered:
    """An example's token ids.

    Args:
        prompt: What the server gives the engine.
        answer: What the model is to generate after it, up to the mark at which serving stops.
    """

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def labels(self) -> list[int]:
        """The answer's tokens, in the place of the prompt's `IGNORED`."""
        return [IGNORED] * len(self.prompt) + self.answer


class Renderer:
    """Renders a base's chats.

    Args:
        tokenizer: The base's.
        template: What `chat_template.probe` found.

    Raises:
        FineTuneFailed: The template never ends an answer, or has the model think before it.
    """

    def __init__(self, tokenizer: Any, template: ChatTemplate) -> None:
        if template.end_id is None:
            raise FineTuneFailed(
                "the base's chat template closes an answer with no token of its own, neither "
                f"{tokenizer.eos_token!r} nor another, so a fine-tuned model would never stop; "
                "give the base a template that does"
            )
        if template.thinks():
            raise FineTuneFailed(
                "the server has the base think before it answers "
                f"({', '.join(template.switches)}), and feedback holds no thoughts to learn from; "
                f"set engine.default_chat_template_kwargs.{template.switches[0]} to false"
            )
        self._tokenizer = tokenizer
        self._template = template
        self._end_id = template.end_id
        self._special = SpecialTokens.of(tokenizer)

    @classmethod
    def of(cls, job: Job, tokenizer: Any) -> "Renderer":
        """Return the renderer of a job's base, with the server's template.

        Raises:
            FineTuneFailed: See above, or the template cannot be rendered.
        """
        try:
            found = chat_template.probe(tokenizer, job.chat_template, job.chat_template_kwargs)
        except Exception as exc:  # a template raises what it likes
            raise FineTuneFailed(f"the base's chat template cannot be rendered: {exc}") from exc
        return cls(tokenizer, found)

    def thinks(self, row: Row) -> bool:
        """Return whether the row's own request had the model think before it answered."""
        return self._template.thinks(row.get(KWARGS))

    def render(self, row: Row, key: str, name: str) -> Rendered:
        """Render a row with one of its answers.

        Args:
            row: Its prompt and answers in TRL's conversational format; `chat_template_kwargs` are
                what its request set.
            key: The answer's.
            name: What errors call it.

        Raises:
            RenderingDiffers: Serving would ask with other tokens, or the answer is another.
        """
        own = row.get(KWARGS)
        prompt = self._special.broken_in(row["prompt"])
        answer = self._special.broken_in(row[key])
        try:
            asked = self._template.text(self._tokenizer, prompt, asks=True, own=own)
            whole = self._template.text(self._tokenizer, [*prompt, *answer], asks=False, own=own)
        except Exception as exc:  # a template raises what it likes
            raise RenderingDiffers(f"{name}: the chat template refuses it: {exc}") from exc
        before = chat_template.tokens(self._tokenizer, asked)
        ids = chat_template.tokens(self._tokenizer, whole)
        if not whole.startswith(asked) or ids[: len(before)] != before:
            raise RenderingDiffers(
                f"{name}: the chat template renders an answered chat with other tokens than the "
                f"server asks with, which end in {asked[-40:]!r}; a template that has the model "
                "think does so, and cannot be trained"
            )
        self._check_answer(name, whole[len(asked) :], answer[-1]["content"].strip())
        rest = ids[len(before) :]
        return Rendered(before, rest[: rest.index(self._end_id) + 1])

    def _check_answer(self, name: str, rendered: str, content: str) -> None:
        """Refuse an answer that the template changes, or puts something before or after."""
        begun = rendered.lstrip()
        if content not in begun:
            raise RenderingDiffers(f"{name}: the chat template changes the answer's words")
        if not begun.startswith(content):
            raise RenderingDiffers(
                f"{name}: the chat template puts {begun.partition(content)[0]!r} before the "
                "answer, and the server does not; a template that has the model think cannot be "
                "trained"
            )
        if not begun.removeprefix(content).lstrip().startswith(str(self._template.end)):
            raise RenderingDiffers(
                f"{name}: the chat template does not end the answer with {self._template.end!r}"
            )


@dataclass(frozen=True)
class Example:
    """A row that fits.

    Args:
        row: The row.
        answers: Its renderings, by the answers' keys.
    """

    row: Row
    answers: dict[str, Rendered]

    @property
    def tokens(self) -> int:
        """Tokens of all its answers, each with the prompt."""
        return sum(map(len, self.answers.values()))


def fitting(
    rows: Iterable[Row], answers: Sequence[str], renderer: Renderer, max_length: int
) -> tuple[list[Example], int]:
    """Return the rows whose prompt with each answer fits, and how many are too long.

    A row that is cut teaches to stop in mid-sentence or loses what the answer rests on, so a long
    one is left out whole. So is one whose request had the model think, which feedback does not.

    Args:
        rows: Rows in TRL's conversational format.
        answers: The keys of a row's answers.
        renderer: The base's.
        max_length: In tokens.

    Raises:
        RenderingDiffers: Serving would ask with other tokens, or the answer is another.
    """
    kept: list[Example] = []
    too_long = thought = 0
    for number, row in enumerate(rows, 1):
        if renderer.thinks(row):
            thought += 1
            continue
        name = f"example {row.get('interaction_id', number)}"
        example = Example(row, {key: renderer.render(row, key, name) for key in answers})
        if max(map(len, example.answers.values())) <= max_length:
            kept.append(example)
        else:
            too_long += 1
    if thought:
        _log.warning("%d examples are left out: their requests had the model think", thought)
    return kept, too_long
