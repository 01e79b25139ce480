"""Guidelines for agents in ABCD's form, read into passages: one for each kind of case.

Chen et al., "Action-Based Conversations Dataset", NAACL 2021, `guidelines.json`: `{flow:
{"description", "subflows": {name: {"instructions": [text], "actions": [{"button", "text",
"subtext": [text]}]}}}}`.
"""

from typing import Any

from pydantic import BaseModel, Field, RootModel, ValidationError

from serving.errors import InvalidRequest
from serving.knowledge.splitting import BETWEEN, Section


class _Action(BaseModel):
    button: str = ""
    text: str = ""
    subtext: list[str] = Field(default_factory=list)


class _Case(BaseModel):
    instructions: list[str] = Field(default_factory=list)
    actions: list[_Action] = Field(default_factory=list)


class _Flow(BaseModel):
    description: str = ""
    subflows: dict[str, _Case]


class _Guidelines(RootModel[dict[str, _Flow]]):
    pass


def sections(place: str, value: Any) -> list[Section]:
    """Return a section for each kind of case, its title the flow's name and its own.

    Args:
        place: Where it was read, for errors.
        value: The file's JSON.

    Raises:
        InvalidRequest: It has another form; names the first key that has.
    """
    try:
        flows = _Guidelines.model_validate(value).root
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{place}: no guidelines: {where or 'it'}: {first['msg']}.") from exc
    return [
        Section(f"{flow}{BETWEEN}{name}", text)
        for flow, its in flows.items()
        for name, case in its.subflows.items()
        if (text := _text(case))
    ]


def _text(case: _Case) -> str:
    parts = list(case.instructions)
    for action in case.actions:
        lead = f"{action.button}: {action.text}" if action.button else action.text
        parts.append("\n".join([lead, *(f"- {one}" for one in action.subtext)]))
    return "\n\n".join(part for one in parts if (part := one.strip()))
