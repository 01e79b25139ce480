"""What an answer may rest on: the prompt, the conversation and the knowledge of its request.

A task's turns are taken as they were sent, since its rendered prompt no longer says who said what.
"""

from collections.abc import Sequence

from serving.config.lobs import Lob
from serving.fallback.engine_request import EngineRequest
from serving.gateway.guarding import untrusted
from serving.gateway.tasks import TaskRequest
from serving.guards.canonical import canonical
from serving.guards.verdict import GuardContext

_PROMPT = frozenset({"system", "developer"})
_LOOK_UP = frozenset({"tool", "function", "knowledge"})


def of_answer(request: EngineRequest, task: TaskRequest | None, line: Lob | None) -> GuardContext:
    """Return what an answer is compared with.

    Args:
        request: As the engine got it.
        task: What was asked, where it was a task.
        line: The line of business; its description and guidelines are part of a task's prompt,
            also where a template renders them into the user's message.
    """
    body, capture = request.body, request.capture
    given = body.get("messages", body.get("input", body.get("prompt")))
    said = list(untrusted.messages(given))
    prompt = [text for role, text in said if role in _PROMPT]
    prompt += [text for text in [body.get("instructions")] if isinstance(text, str)]
    if isinstance(given, str):
        said = [("user", given)]
    if task is not None:
        said = [(str(turn.role), turn.text) for turn in task.turns]
        if line is not None:
            own = [line.description, line.guidelines]
            prompt += [text for text in own if text and text not in "\n".join(prompt)]
    return GuardContext(
        capture.lob,
        capture.task,
        canonical("\n".join(prompt)),
        tuple((role, text) for role, text in said if role not in _PROMPT | _LOOK_UP),
        knowledge=_knowledge(said),
        last=canonical(request.last),
    )


def _knowledge(said: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(text for role, text in said if role in _LOOK_UP and text)
