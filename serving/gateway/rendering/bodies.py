"""The body that the engine gets: a task's is rendered, special tokens are broken up."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from serving import endpoints
from serving.adapters.manager import AdapterManager
from serving.config.prompts import Prompt, Task
from serving.config.settings import Settings
from serving.gateway import tasks
from serving.gateway.exchange import Exchange
from serving.gateway.rendering.by_version import ByVersion
from serving.gateway.shadow import schedules
from serving.untrusted_text import SpecialTokens

# What a chat template renders. A completion's prompt is raw: its caller writes the form, too.
_TEMPLATED = frozenset({"messages", "input", "instructions", "tools", "chat_template_kwargs"})


class Made(NamedTuple):
    """A body, and of a task what renders it for other versions, and the prompt that made it."""

    body: dict[str, Any]
    render: ByVersion | None = None
    prompt: Prompt | None = None


class Bodies:
    """Makes the bodies of all requests.

    Args:
        adapters: The replica's adapters, which may bring prompts of their own.
        prompts: The configured prompt of each (line of business, task).
        special_tokens: The base's, which are broken up where they stand in a text.
        settings: The configuration.
    """

    def __init__(
        self,
        adapters: AdapterManager,
        prompts: Mapping[tuple[str, Task], Prompt],
        special_tokens: SpecialTokens,
        settings: Settings,
    ) -> None:
        self._adapters = adapters
        self._special_tokens = special_tokens
        self._schedules = schedules(settings)
        self.configure(settings, prompts)

    def configure(self, settings: Settings, prompts: Mapping[tuple[str, Task], Prompt]) -> None:
        """Make bodies by other settings and prompts from the next request on."""
        self._lobs, self._prompts = settings.lobs, prompts

    async def ready(self, exchange: Exchange) -> None:
        """Load the version chosen, unless it is loaded: it may bring the prompt of a task.

        Raises:
            NotFound: There is no such version.
            AdapterRefused: It cannot be served.
        """
        version = exchange.target.version
        if "@" in version and version not in self._adapters.loaded:
            await self._adapters.ensure(await self._adapters.describe(version))

    def made(self, exchange: Exchange, priority: int) -> Made:
        """Return the body that the version chosen is asked with.

        For one that is not loaded, which is so in a fallback chain only, the line's configured
        prompt makes it; the chain renders it anew for each step.

        Args:
            exchange: Routed, and with what was found for it.
            priority: By which the engine schedules it.

        Raises:
            InvalidRequest: As `tasks.chat_body`.
        """
        asked, version = exchange.request, exchange.target.version
        body, templated = asked.sent, _TEMPLATED
        render: ByVersion | None = None
        prompt: Prompt | None = None
        if asked.of_task is not None:
            task, lob = tasks.PATHS[asked.endpoint], asked.of_task.lob
            configured = self._prompts[lob, tasks.prompt_of(task, asked.of_task)]
            render = ByVersion(
                *(task, asked.of_task, configured, self._lobs[lob]),
                *(self._adapters, self._special_tokens),
            )
            known = version if version in self._adapters.loaded else None
            body = render.body(known)
            prompt, templated = render(known).prompt, _TEMPLATED - {"messages"}
        for field in templated & body.keys():
            body[field] = self._special_tokens.broken_in(body[field])
        if self._schedules and (priority or "priority" in body):
            body["priority"] = priority
        body["model"] = version
        if asked.engine_path == endpoints.RESPONSES:
            body["request_id"] = exchange.response_id
            body["store"] = False  # vLLM would keep it for whoever knows its id
        return Made(body, render, prompt)
