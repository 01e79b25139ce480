"""A base's chat template: what it takes, and chats in the form that it takes.

Templates differ. Some refuse a system message (Gemma) or two turns of one role in a row (Mistral),
some have the model think first (Qwen3), and each ends an answer in its own way (`<|im_end|>`,
`<end_of_turn>`). `probe` finds that out once, by rendering small chats. Serving and training form
their chats by the same functions, since a model must learn from the tokens with which it is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from serving.errors import ConfigError

Message = Mapping[str, Any]

SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates have a model think before it answers."""
_JOINT = "\n\n"
_SYSTEM = frozenset({"system", "developer"})
_TURNS = frozenset({"user", "assistant", *_SYSTEM})
_ASKED, _ANSWERED, _MORE = "question-7b", "answer-7b", "more-7b"  # nothing that a template writes


@dataclass(frozen=True)
class ChatTemplate:
    """What a template takes, and what rendering with it needs.

    Args:
        source: Jinja text; None is the tokenizer's own.
        kwargs: Its variables where a request sets none.
        takes_system: Whether a system message may begin the chat.
        takes_consecutive: Whether a role may have two turns in a row.
        switches: Those of `SWITCHES` that change what it renders.
        end: The token that ends an answer, as text; None where there is none.
        end_id: Its id.
        adds_stop: Whether the engine must be told to stop there, since neither `eos_token` nor
            `generation_config.json` says so.
    """

    source: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    takes_system: bool = True
    takes_consecutive: bool = True
    switches: tuple[str, ...] = ()
    end: str | None = None
    end_id: int | None = None
    adds_stop: bool = False

    def adapted(self, messages: Sequence[Message]) -> list[Message]:
        """Return a chat in the form that the template takes; what it takes stays as it is.

        A system message that it refuses becomes the beginning of the user's turn after it (or the
        end of the one before), and turns of one role in a row become one, a blank line between
        them. Tool calls and their results are never joined.
        """
        made: list[Message] = []
        joins = False  # whether the last message was a system message
        for message in messages:
            system = not self.takes_system and message.get("role") in _SYSTEM
            one: Message = {**message, "role": "user"} if system else message
            if (
                made
                and (joins or system or not self.takes_consecutive)
                and _joinable(made[-1], one)
            ):
                made[-1] = {
                    **made[-1],
                    "content": _joined(made[-1]["content"], one["content"]),
                }
            else:
                made.append(one)
            joins = system
        return made

    def body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a chat completion or a response as the engine is to get it.

        Args:
            body: The request's; it is not changed.

        Returns:
            `body` itself where there is nothing to adapt, else a copy.
        """
        if self.takes_system and self.takes_consecutive and not self.adds_stop:
            return body
        if not {"messages", "input"} & body.keys():
            return body
        made = dict(body)
        if self.adds_stop and body.get("ignore_eos") is not True:
            made["stop_token_ids"] = [*(body.get("stop_token_ids") or []), self.end_id]
        chat = made.get("messages")
        if _is_chat(chat):
            made["messages"] = self.adapted(chat)
        if "input" in made:
            self._adapt_input(made)
        return body if made == body else made

    def _adapt_input(self, made: dict[str, Any]) -> None:
        """The same for `/v1/responses`, where `instructions` are the system message."""
        given, instructions = made["input"], made.get("instructions")
        chat = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not _is_chat(chat):
            return
        if isinstance(instructions, str) and not self.takes_system:
            chat = [{"role": "system", "content": instructions}, *chat]
            del made["instructions"]
        elif isinstance(given, str):
            return
        made["input"] = self.adapted(chat)

    def variables(self, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the template's variables of a request that sets some of its own."""
        return {**self.kwargs, **(own or {})}

    def thinks(self, own: Mapping[str, Any] | None = None) -> bool:
        """Return whether the template has the model think before it answers."""
        variables = self.variables(own)
        return any(variables.get(switch) for switch in self.switches)

    def text(
        self,
        tokenizer: Any,
        messages: Sequence[Message],
        *,
        asks: bool,
        own: Mapping[str, Any] | None = None,
    ) -> str:
        """Render a chat.

        Args:
            tokenizer: The base's, of the transformers library.
            messages: The chat.
            asks: Whether the model is to answer: the text ends where its answer begins.
            own: The request's own variables.

        Raises:
            Exception: Whatever the template raises.
        """
        rendered = tokenizer.apply_chat_template(
            [dict(message) for message in self.adapted(messages)],
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=asks,
            **self.variables(own),
        )
        return str(rendered)


def tokens(tokenizer: Any, text: str) -> list[int]:
    """Return a rendered chat's token ids; as in vLLM, nothing is put before or after it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def asked_for(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template's variables that a stored request sets, as vLLM reads them.

    `reasoning_effort` (`reasoning.effort` of a response) turns thinking on, unless it is `none`.
    """
    sent, reasoning = request.get("chat_template_kwargs"), request.get("reasoning")
    found = dict(sent) if isinstance(sent, Mapping) else {}
    effort = request.get("reasoning_effort")
    if effort is None and isinstance(reasoning, Mapping):
        effort = reasoning.get("effort")
    if isinstance(effort, str):
        found = {"enable_thinking": effort != "none", **found, "reasoning_effort": effort}
    return {name: value for name, value in found.items() if value not in (None, "auto")}


def configured(engine: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the template that the configuration gives, as text, and its variables.

    Args:
        engine: The configuration's `engine`.

    Raises:
        ConfigError: `engine.chat_template` is neither a template nor a file.
    """
    given, variables = engine.get("chat_template"), engine.get("default_chat_template_kwargs")
    return (
        _source(str(given)) if given else None,
        dict(variables) if isinstance(variables, Mapping) else {},
    )


def _source(given: str) -> str:
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        if "{" in given:
            return given
        raise ConfigError(
            f"engine.chat_template: {given!r} cannot be read: {exc}", param="engine.chat_template"
        ) from exc


def probe(
    tokenizer: Any, source: str | None = None, kwargs: Mapping[str, Any] | None = None
) -> ChatTemplate:
    """Find out what a template takes. Thinking is off where neither `kwargs` nor a request says.

    Args:
        tokenizer: The base's, of the transformers library.
        source: What `configured` gave.
        kwargs: What `configured` gave.

    Raises:
        Exception: There is no template, or it refuses even a question and its answer.
    """
    user, assistant = _message("user", _ASKED), _message("assistant", _ANSWERED)
    system = _message("system", _MORE)
    plain = ChatTemplate(source, dict(kwargs or {}))
    switches = tuple(name for name in SWITCHES if _matters(plain, tokenizer, name, [user]))
    template = ChatTemplate(
        source, {**dict.fromkeys(switches, False), **plain.kwargs}, switches=switches
    )
    answered = template.text(tokenizer, [user, assistant], asks=False)
    end_id = _end(tokenizer, answered.rpartition(_ANSWERED)[2])
    return ChatTemplate(
        source,
        template.kwargs,
        takes_system=_takes(template, tokenizer, [system, user]),
        takes_consecutive=_takes(template, tokenizer, [user, _message("user", _MORE)])
        and _takes(template, tokenizer, [user, assistant, _message("assistant", _MORE), user]),
        switches=switches,
        end=None if end_id is None else str(tokenizer.convert_ids_to_tokens(end_id)),
        end_id=end_id,
    )


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _takes(template: ChatTemplate, tokenizer: Any, chat: list[dict[str, str]]) -> bool:
    """Whether a chat is rendered whole; templates also drop silently what they do not know."""
    try:
        text = template.text(tokenizer, chat, asks=True)
    except Exception:  # a template raises what it likes
        return False
    return all(message["content"] in text for message in chat)


def _matters(
    template: ChatTemplate, tokenizer: Any, switch: str, chat: list[dict[str, str]]
) -> bool:
    on, off = (
        template.text(tokenizer, chat, asks=True, own={switch: value}) for value in (True, False)
    )
    return on != off


def _end(tokenizer: Any, tail: str) -> int | None:
    """The first token after an answer that no text gives by itself."""
    marks = {*getattr(tokenizer, "added_tokens_decoder", {}), *tokenizer.all_special_ids}
    return next((token for token in tokens(tokenizer, tail) if token in marks), None)


def _is_chat(value: Any) -> TypeGuard[list[Message]]:
    return isinstance(value, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in value
    )


def _joinable(first: Message, second: Message) -> bool:
    return (
        first.get("role") == second.get("role")
        and first.get("role") in _TURNS
        and all(
            isinstance(message.get("content"), str | list) and not message.get("tool_calls")
            for message in (first, second)
        )
    )


def _joined(first: str | list[Any], second: str | list[Any]) -> str | list[Any]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}{_JOINT}{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
