"""Intent, sentiment and entities of a conversation: what a model's JSON says of it.

An entity counts only where its words stand in a turn, letter by letter: so spans are right, and
what a model makes up is dropped and counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.config.prompts import Turn
from serving.config.structured.fields import valid
from serving.errors import InvalidRequest
from serving.gateway.structured import reading
from serving.intents.classifier import Guess


def read(
    text: str,
    finish_reason: str | None,
    schema: Mapping[str, Any],
    turns: Sequence[Turn],
    guess: Guess | None = None,
) -> dict[str, Any]:
    """Return what a client is told: the choice's field `insights`.

    Args:
        text: What the model wrote.
        finish_reason: Why it ended.
        schema: What it was asked for.
        turns: The conversation.
        guess: The intent that the line's classifier gave, where one did.

    Returns:
        `complete`, and of what was asked and fits: `intent`, with `probability` where it is the
        classifier's; `sentiment`, a list of `turn` and
        `value`; `entities`, a list of `name`, `value`, `turn` and `span` (character offsets in the
        turn's text, the end excluded), with `dropped`, the number of those that no turn holds.
    """
    said, complete = reading.fitting(text, finish_reason, schema)
    told: dict[str, Any] = {"complete": complete}
    if "intent" in said:
        told["intent"] = said["intent"]
        if guess is not None and guess.intent == said["intent"]:
            told["probability"] = guess.probability
    if "sentiment" in said:
        told["sentiment"] = [
            {"turn": int(turn), "value": value} for turn, value in said["sentiment"].items()
        ]
    if "entities" in said:
        found = located(said["entities"], turns)
        told |= {"entities": found, "dropped": len(said["entities"]) - len(found)}
    return told


def located(entities: Sequence[Mapping[str, Any]], turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return the entities that a turn holds, each with its place.

    The turn that is named goes before the others; the same words again are their next occurrence,
    or dropped where there is none.

    Args:
        entities: Each with `name`, `turn` and `value`.
        turns: The conversation.
    """
    taken: set[tuple[str, int, int]] = set()
    found = []
    for one in entities:
        name, value, named = one["name"], one["value"], int(one["turn"])
        others = (turn for turn in range(len(turns)) if turn != named)
        for turn in (*(named for _ in turns[named : named + 1]), *others):
            start = turns[turn].text.find(value)
            while start >= 0 and (name, turn, start) in taken:
                start = turns[turn].text.find(value, start + 1)
            if start >= 0:
                taken.add((name, turn, start))
                span = [start, start + len(value)]
                found.append({"name": name, "value": value, "turn": turn, "span": span})
                break
    return found


def check_correction(request: Mapping[str, Any], edit: str) -> None:
    """Check the JSON by which a person corrects an answer.

    Args:
        request: As it is stored, with the schema that was asked for.
        edit: The corrected JSON.

    Raises:
        InvalidRequest: It is not of the schema.
    """
    schema = request["response_format"]["json_schema"]["schema"]
    value, whole = reading.parsed(edit)
    if not whole or not valid(value, schema):
        raise InvalidRequest(
            "The correction of an insight is JSON of the form of the answer's content: "
            f"{', '.join(schema['properties'])}.",
            param="edit",
        )
