"""What a line wants to know of its conversations: its list of intents, its kinds of entities."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints

from serving.config.base import Section

Want = Literal["intent", "sentiment", "entities"]
SENTIMENTS = ("negative", "neutral", "positive")
ENTITIES_LIMIT = 50
VALUE_LIMIT = 200
SENTIMENTS_LIMIT = 500
"""Turns of the customer's; each makes the grammar of the answer longer."""
INTENT_LIMIT = 80
"""Characters of an intent in the model's own words."""
_Named = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64)],
    Annotated[str, StringConstraints(min_length=1)],
]


class IntentModel(Section):
    """What says the intent of a conversation."""

    model: Literal["auto", "engine", "classical"] = Field(
        "auto",
        description="Of a list of intents: `engine` asks the model, `classical` the classifier of "
        "`switchboard intents train`, `auto` whichever that one's evaluation prefers.",
    )


class Insights(Section):
    """Intents and entities of a line."""

    intents: _Named | None = Field(
        None,
        min_length=1,
        description="The list of intents, name to description, for /v1/insights; null: an intent "
        "is a few words of the model's own.",
    )
    intent: IntentModel = Field(
        default_factory=IntentModel, description="What says a conversation's intent."
    )
    entities: _Named = Field(
        default_factory=dict,
        description="Kinds of entities that /v1/insights finds, name to description.",
    )

    def answer_schema(self, wanted: Collection[Want], customers: Collection[int]) -> dict[str, Any]:
        """Return the JSON schema of an answer.

        Args:
            wanted: What is asked.
            customers: The indexes of the customer's turns; each gets a sentiment, so that a model
                passes over none.
        """
        intent: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": INTENT_LIMIT}
        if self.intents is not None:
            intent = {"enum": [*self.intents, None]}
        entity = {
            "name": {"enum": [*self.entities]},
            "turn": {"type": "integer", "minimum": 0},
            "value": {"type": "string", "minLength": 1, "maxLength": VALUE_LIMIT},
        }
        of: dict[Want, dict[str, Any]] = {
            "intent": intent,
            "sentiment": _object({str(turn): {"enum": [*SENTIMENTS]} for turn in customers}),
            "entities": {"type": "array", "maxItems": ENTITIES_LIMIT, "items": _object(entity)},
        }
        return _object({name: its for name, its in of.items() if name in wanted})

    def meanings(self, wanted: Collection[Want]) -> dict[str, str]:
        """Return what a prompt says of each part of an answer."""
        intent = "why the customer came, in a few words"
        if self.intents is not None:
            intent = f"why the customer came, one of {_list(self.intents)}; null where none fits"
        words = ", ".join(orjson.dumps(one).decode() for one in SENTIMENTS)
        of: dict[Want, str] = {
            "intent": intent,
            "sentiment": f"the customer's mood by the number of each of their turns: {words}",
            "entities": 'a list of {"name", "turn", "value"}: the number of the turn that says it, '
            f"and its words copied exactly; the names are {_list(self.entities)}",
        }
        return {name: its for name, its in of.items() if name in wanted}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(named: dict[str, str]) -> str:
    return ", ".join(f"{orjson.dumps(name).decode()} ({its})" for name, its in named.items())
