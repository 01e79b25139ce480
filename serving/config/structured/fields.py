"""The typed fields of a structured summary, and the JSON schema that they come to.

The schema is what the engine's constrained decoding gets, and what an answer is checked against.
All of its properties are required, so that a model passes over none; what may be missing is null.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
from jsonschema import Draft202012Validator
from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from serving.config.base import Section

TEXT = "summary"
"""The property that holds the free text where that is asked for beside the fields."""
_TEXT_MEANING = "the whole summary as free text"
Kind = Literal["text", "enum", "bool", "list", "date", "money"]
_MONEY = {
    "type": "object",
    "properties": {
        "amount": {"type": "number"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
    "required": ["amount", "currency"],
    "additionalProperties": False,
}
_SCHEMAS: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "date": {"type": "string", "format": "date"},
    "money": _MONEY,
}
_FORMS: dict[Kind, str] = {
    "bool": "true or false",
    "list": "a list of texts",
    "date": "a date as YYYY-MM-DD",
    "money": 'an amount as {"amount": 12.5, "currency": "USD"}',
}


def _written_out(value: object) -> object:
    """A text alone is a description, and a text that is always there, as it was before types."""
    return {"description": value, "required": True} if isinstance(value, str) else value


class SummaryField(Section):
    """One field of a structured summary."""

    type: Kind = Field("text", description="What it holds.")
    description: str = Field(min_length=1, description="What it means; the prompt tells the model.")
    values: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        default_factory=list, description="Of an enum: what it may be."
    )
    required: bool = Field(False, description="Whether it is never null.")
    example: Any = Field(None, description="What it could be; the prompt tells the model.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type == "enum" and not self.values:
            raise ValueError("an enum needs `values`")
        if self.type != "enum" and self.values:
            raise ValueError(f"`values` are an enum's, and its type is {self.type}")
        if len(set(self.values)) < len(self.values):
            raise ValueError("`values` has one twice")
        if self.example is not None and not valid(self.example, self.schema_of()):
            raise ValueError(f"`example` {self.example!r} is no {self.type} of this field")
        return self

    def schema_of(self) -> dict[str, Any]:
        """Return the JSON schema of its value."""
        if self.type == "enum":
            values: list[str | None] = [*self.values]
            return {"enum": values if self.required else [*values, None]}
        its = _SCHEMAS[self.type]
        return its if self.required else {"anyOf": [its, {"type": "null"}]}

    def meaning(self) -> str:
        """Return what a prompt says of it: its description, and the form where that is no text."""
        forms = [_FORMS[self.type]] if self.type in _FORMS else []
        if self.type == "enum":
            forms = [f"one of {orjson.dumps(self.values).decode()}"]
        if not self.required:
            forms.append("null if it was not said")
        if self.example is not None:
            forms.append(f"for example {orjson.dumps(self.example).decode()}")
        return f"{self.description} ({'; '.join(forms)})" if forms else self.description


SummaryFields = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)],
    Annotated[SummaryField, BeforeValidator(_written_out)],
]
"""By name; `{name: description}` is the short form of a required text."""


def valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a JSON value is what a schema asks for, the format of dates included."""
    checker = Draft202012Validator.FORMAT_CHECKER
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(value))


def schema(fields: Mapping[str, SummaryField], *, text: bool = False) -> dict[str, Any]:
    """Return the JSON schema of a summary: an object of all fields.

    Args:
        fields: The line's.
        text: Whether `TEXT`, the summary as free text, comes first.
    """
    first: dict[str, Any] = {TEXT: {"type": "string", "description": _TEXT_MEANING}} if text else {}
    own = {
        name: {**its.schema_of(), "description": its.description} for name, its in fields.items()
    }
    properties = {**first, **own}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def meanings(fields: Mapping[str, SummaryField], *, text: bool = False) -> dict[str, str]:
    """Return what a prompt says of each field, in the schema's order."""
    first = {TEXT: _TEXT_MEANING} if text else {}
    return first | {name: its.meaning() for name, its in fields.items()}
