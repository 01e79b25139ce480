"""How a line's task requests are rendered for one version: what it is asked, word for word.

A prompt of a version's own changes what it is asked, so what it learns from and what it is judged
by must have that form too. Messages that the same prompt made stay as they were stored; others are
rendered anew from the turns that were stored with them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

from serving.config import prompts
from serving.config.lobs import Lob
from serving.config.prompting import messages
from serving.config.prompts import Prompt, Task, Turn
from serving.errors import ConfigError
from serving.store.records import InteractionRecord
from training.data.examples import Example, Message
from training.data.forms import asked as asked_for
from training.errors import DatasetError

_OF_LINE = {"description", "guidelines", "summary_fields"}


@dataclass(frozen=True)
class Form:
    """The prompts that a version is asked by.

    Args:
        version: The version; of the base its served name.
        lob: The line of business.
        line: Its settings.
        prompts: By whose they are; examples of other tasks keep their messages.
        texts: The prompts' texts, where it is to be written down.
    """

    version: str
    lob: str
    line: Lob
    prompts: Mapping[Task, Prompt]
    texts: Mapping[Task, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave.

        Raises:
            DatasetError: A prompt can no longer be parsed.
        """
        version, lob, texts = content["version"], content["lob"], content["texts"]
        try:
            own = prompts.parse_own(texts, version, lob)
        except ConfigError as exc:
            raise DatasetError(f"{version}'s prompts cannot be used: {exc.message}") from exc
        return cls(version, lob, Lob.model_validate(content["line"]), own, texts)

    def as_json(self) -> dict[str, Any]:
        """Return all that decides how it renders, as a manifest keeps it."""
        line = self.line.model_dump(mode="json", include=_OF_LINE)
        return {"version": self.version, "lob": self.lob, "texts": dict(self.texts), "line": line}

    def written(self) -> str:
        """Return it for another process: what `parsed` reads."""
        return json.dumps(self.as_json())

    def is_of(self, asked: asked_for.Asked) -> bool:
        """Whether the messages are this form's already."""
        prompt = self.prompts.get(asked["prompt"])
        return prompt is None or prompt.hash == asked["hash"]

    def can_ask(self, example: Example) -> bool:
        """Whether it is known what a version of this form would be asked in an example's place."""
        asked = example.asked
        if asked is None:
            return False
        prompt = self.prompts.get(asked["prompt"])
        return prompt is None or self.is_of(asked) or "previous" not in asked or prompt.goes_on

    def rendered(self, example: Example) -> Example:
        """Return an example as this form asks it; as it is, where that is not known.

        Its shown output and its target stay.
        """
        asked = example.asked
        if asked is None or self.is_of(asked) or not self.can_ask(example):
            return example
        prompt = self.prompts[asked["prompt"]]
        made = messages.render(
            prompt,
            self.lob,
            self.line,
            "summary" if example.task == "summary" else "suggestion",
            [Turn(t["role"], t.get("text", ""), t.get("passage", "")) for t in asked["turns"]],
            fields=messages.fields(self.line, asked.get("structured", False)),
            previous=asked.get("previous", ""),
        )
        said = [Message(one["role"], one["content"]) for one in made]
        if "draft" in asked:
            said.append(Message("assistant", asked["draft"]))
        return replace(example, messages=tuple(said), asked={**asked, "hash": prompt.hash})

    def keeps(self, interaction: InteractionRecord) -> bool:
        """Whether another prompt's messages are all that is known of an interaction."""
        prompt = self.prompts.get(asked_for.prompt_of(interaction))  # type: ignore[call-overload]
        other = prompt is not None and interaction.prompt_hash not in (None, prompt.hash)
        return other and asked_for.of(interaction) is None


@lru_cache(maxsize=4)
def parsed(written: str) -> Form:
    """Return the form that another process wrote, parsed once."""
    return Form.of(json.loads(written))
