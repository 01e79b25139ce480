"""Prompts: versioned Jinja files, one per line of business and task.

A prompt is a file ``<lob>/<task>.jinja``, or ``default/<task>.jinja`` where a line of business has
none of its own; later tasks have the package's own where the folder has neither. Its blocks
``system`` and ``user`` become the chat messages; an empty block is left out. The variables are
`turns` (each with `.role` and `.text`, whose lines after the first begin with ``| ``), `lob`,
`task`, the line's `description` and `guidelines` (text, may be empty), `fields` (name to
description; empty for free text) and `previous` (the summary of what came before `turns`, its lines
marked in the same way; empty without one). What was sent is known later by the prompt's name and
the hash of its text, which every interaction stores.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving import untrusted_text
from serving.errors import ConfigError

Task = Literal["suggestion", "summary", "handover", "insight"]
DEFAULT = Path(__file__).with_name("default_prompts")
"""The package's own, written for instruct models."""
TASKS: tuple[Task, ...] = ("suggestion", "summary")
"""Of these every folder has a prompt."""
PACKAGED: tuple[Task, ...] = ("handover", "insight")
"""Of these a folder may have one; else it is the package's."""
_BLOCKS = ("system", "user")
_SENTINEL = "what-was-said-before"
_FAULTS = (
    *(jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RecursionError, TypeError, ValueError),
)
"""What a template that is none, or cannot be rendered, raises."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, or what a look-up of the agent gave (`knowledge`)."""

    role: Literal["customer", "agent", "knowledge"]
    text: str
    passage: str = ""
    """The id of the passage of the line's knowledge that it is; a prompt shows it before the text,
    and it is no part of what the text says."""

    @property
    def shown(self) -> str:
        """The text as a prompt has it, each line after the first marked."""
        named = f"[{self.passage}] {self.text}" if self.passage else self.text
        return untrusted_text.continued(named)

    def as_json(self) -> dict[str, str]:
        """Return it as it is stored: `role`, `text`, and `passage` where it is one."""
        whole = {"role": self.role, "text": self.text}
        return {**whole, "passage": self.passage} if self.passage else whole


@dataclass(frozen=True, slots=True)
class Prompt:
    """A parsed prompt file.

    `goes_on` is whether it tells the model of a previous summary.
    """

    name: str
    hash: str
    template: jinja2.Template
    goes_on: bool = False

    def render(
        self,
        *,
        lob: str,
        task: Task,
        turns: Sequence[Turn],
        fields: Mapping[str, str],
        description: str = "",
        guidelines: str = "",
        previous: str = "",
    ) -> list[dict[str, str]]:
        """Return the chat messages for a conversation: `[{"role", "content"}, …]`.

        A turn's further lines are marked, so that none can pass for a turn of somebody else's.
        """
        context = self.template.new_context(
            {
                "lob": lob,
                "task": task,
                "turns": [replace(turn, text=turn.shown) for turn in turns],
                "fields": fields,
                "description": description,
                "guidelines": guidelines.strip(),
                "previous": untrusted_text.continued(previous),
            }
        )
        messages = []
        for block in _BLOCKS:
            if block in self.template.blocks:
                content = "".join(self.template.blocks[block](context)).strip()
                if content:
                    messages.append({"role": block, "content": content})
        return messages


def read(folder: Path) -> dict[str, str]:
    """Read all prompt files of a folder: path inside it to text.

    Raises:
        ConfigError: A file cannot be read as UTF-8.
    """
    try:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes().decode("utf-8")
            for path in sorted(folder.rglob("*.jinja"))
        }
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"prompts: {exc}", param="prompts") from exc


def load(folder: Path, lobs: Iterable[str]) -> dict[tuple[str, Task], Prompt]:
    """Read and parse the prompts of every line of business: `read`, then `parse`."""
    return parse(read(folder), lobs)


def parse(files: Mapping[str, str], lobs: Iterable[str]) -> dict[tuple[str, Task], Prompt]:
    """Parse the prompts of every line of business.

    Args:
        files: What `read` gave: ``default/…`` and ``<lob>/…`` to text.
        lobs: The lines' names.

    Returns:
        A prompt for each (line of business, task).

    Raises:
        ConfigError: A prompt is missing, does not parse, lacks the user block, or cannot be
            rendered on a sample conversation; all faults are listed.
    """
    own = {f"default/{task}.jinja": _packaged(task) for task in PACKAGED}
    files = own | dict(files)
    environment = _environment(files)
    prompts: dict[tuple[str, Task], Prompt] = {}
    faults = []
    for lob in lobs:
        for task in (*TASKS, *PACKAGED):
            name = next(
                (n for n in (f"{lob}/{task}", f"default/{task}") if f"{n}.jinja" in files), None
            )
            if name is None:
                faults.append(f"prompts: {lob} has no {task}.jinja, nor has default/.")
                continue
            try:
                prompts[lob, task] = _tried(_parse(environment, files, name), lob, task)
            except _FAULTS as exc:
                faults.append(f"prompts: {name}.jinja: {exc}")
    if faults:
        raise ConfigError("\n  ".join(faults), param="prompts")
    return prompts


def parse_own(texts: Mapping[Task, str], owner: str, lob: str) -> dict[Task, Prompt]:
    """Parse prompts that are a version's own: each stands alone, so that its hash tells all of it.

    Args:
        texts: The text of each task's.
        owner: The version that they are of; they are called ``<owner>/<task>``.
        lob: Its line of business.

    Raises:
        ConfigError: As `parse`, or a prompt includes, imports or extends a file.
    """
    prompts: dict[Task, Prompt] = {}
    faults = []
    for task, text in texts.items():
        name = f"{owner}/{task}"
        files = {f"{name}.jinja": text}
        environment = _environment(files)
        try:
            if set(jinja2.meta.find_referenced_templates(environment.parse(text))):
                raise ValueError("it names another file, and a version's prompt stands alone")
            prompts[task] = _tried(_parse(environment, files, name), lob, task)
            _try_all(prompts[task], lob, task)
        except _FAULTS as exc:
            faults.append(f"prompts: {name}.jinja: {exc}")
    if faults:
        raise ConfigError("\n  ".join(faults), param="prompts")
    return prompts


def _environment(files: Mapping[str, str]) -> jinja2.Environment:
    return ImmutableSandboxedEnvironment(
        loader=jinja2.DictLoader(dict(files)),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _parse(environment: jinja2.Environment, files: Mapping[str, str], name: str) -> Prompt:
    template = environment.get_template(f"{name}.jinja")
    if "user" not in template.blocks:
        raise ValueError("it lacks {% block user %}")
    source = files[f"{name}.jinja"].encode()
    return Prompt(name, hashlib.sha256(source).hexdigest()[:16], template)


def _packaged(task: Task) -> str:
    return (DEFAULT / "default" / f"{task}.jinja").read_text("utf-8")


def _tried(prompt: Prompt, lob: str, task: Task) -> Prompt:
    """A prompt that renders, with what that tells of it."""
    turns = [Turn("customer", "Hello."), Turn("agent", "Hello.")]
    for fields in ({}, {"topic": "what it was about"}):
        if not prompt.render(lob=lob, task=task, turns=turns, fields=fields):
            raise ValueError("it renders to nothing")
    told = prompt.render(lob=lob, task=task, turns=turns, fields={}, previous=_SENTINEL)
    return replace(prompt, goes_on=any(_SENTINEL in message["content"] for message in told))


def _try_all(prompt: Prompt, lob: str, task: Task) -> None:
    """Render what else conversations look like: whoever promotes a version tries no request."""
    first, found = Turn("customer", "Hello.\nHello?"), Turn("knowledge", "A price.", passage="p-1")
    words = {"description": "What it sells.", "guidelines": "- Be kind."}
    for turns in ([first], [Turn("agent", "")], [first, found]):
        prompt.render(lob=lob, task=task, turns=turns, fields={}, **words)
    if prompt.goes_on:  # nothing may have been said since
        prompt.render(lob=lob, task=task, turns=[], fields={}, previous=_SENTINEL)
