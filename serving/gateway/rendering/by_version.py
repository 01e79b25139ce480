"""A task's request, rendered for whichever version is asked: by its own prompt, where it has one.

Which that is shows late: a step of a fallback chain, or a shadow, may be another version than the
one that routing chose. Whatever has no prompt of its own for the task, the base and upstreams too,
is asked by the line's configured one.
"""

from typing import Any

from serving.adapters.manager import AdapterManager
from serving.config.lobs import Lob
from serving.config.prompts import Prompt, Task
from serving.fallback.engine_request import Rendered
from serving.gateway import tasks
from serving.gateway.tasks import TaskRequest
from serving.untrusted_text import SpecialTokens


class ByVersion:
    """Renders one request.

    Args:
        task: What is asked.
        request: The request, with all that is known of it.
        configured: The line's prompt for it.
        lob: The line's settings.
        adapters: Whose versions bring prompts of their own.
        special_tokens: The base's, which are broken up where they stand in a text.
    """

    def __init__(
        self,
        task: Task,
        request: TaskRequest,
        configured: Prompt,
        lob: Lob,
        adapters: AdapterManager,
        special_tokens: SpecialTokens,
    ) -> None:
        self._task = task
        self._request = request
        self._configured = configured
        self._lob = lob
        self._adapters = adapters
        self._special_tokens = special_tokens
        self._last: Rendered | None = None

    def body(self, version: str | None) -> dict[str, Any]:
        """Return the chat-completion body that a version is asked with, without `model`.

        Args:
            version: A loaded version or the base; None is asked by the line's configured prompt.

        Raises:
            InvalidRequest: As `tasks.chat_body`.
            KeyError: The version is not loaded, so what it brings is not known.
        """
        return self._made(self._prompt(version))

    def __call__(self, version: str | None) -> Rendered:
        """Return a version's messages, and its prompt; arguments and errors are `body`'s."""
        prompt, last = self._prompt(version), self._last
        if last is not None and last.prompt is prompt:
            return last
        return Rendered(self._made(prompt)["messages"], prompt)

    def _prompt(self, version: str | None) -> Prompt:
        own = None
        if version is not None and "@" in version:
            own = self._adapters.prompt(version, tasks.prompt_of(self._task, self._request))
        return self._configured if own is None else own

    def _made(self, prompt: Prompt) -> dict[str, Any]:
        made = tasks.chat_body(self._task, self._request, prompt, self._lob)
        made["messages"] = self._special_tokens.broken_in(made["messages"])
        self._last = Rendered(made["messages"], prompt)
        return made
