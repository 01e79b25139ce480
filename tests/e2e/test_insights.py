"""Intent, sentiment and entities through the real engine."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from serving.intents import published
from tests.e2e.server import Server
from tests.e2e.test_summaries import TURNS
from tests.waiting import until
from training.intents.fitting import fit

pytestmark = pytest.mark.e2e


def insights(server: Server, **fields: Any) -> tuple[ChatCompletion, dict[str, Any]]:
    body = {"lob": "sales", "conversation": TURNS} | fields
    answer = server.client().post("/insights", cast_to=ChatCompletion, body=body)
    told = answer.choices[0].model_extra["insights"]
    assert isinstance(told, dict)
    return answer, told


def test_intent_and_sentiment_are_of_their_lists_for_each_turn(server: Server) -> None:
    answer, told = insights(server, want=["intent", "sentiment"], max_tokens=800)
    # The tiny model may pad with white space to the end: then nothing is called complete.
    ended = answer.choices[0].finish_reason == "stop"
    assert told["complete"] is ended
    if ended:
        assert told["intent"] in {"order", "cancel", None}
        assert [one["turn"] for one in told["sentiment"]] == [0, 2, 4, 6, 8, 10]
        assert {one["value"] for one in told["sentiment"]} <= {"negative", "neutral", "positive"}


def test_every_entity_stands_where_its_span_says(server: Server) -> None:
    answer, told = insights(server, want=["entities"], max_tokens=200)
    assert told["complete"] is (answer.choices[0].finish_reason == "stop")
    for one in told.get("entities", ()):
        start, end = one["span"]
        assert TURNS[one["turn"]]["text"][start:end] == one["value"]


def test_a_correction_is_json_of_the_same_schema_and_is_stored(server: Server) -> None:
    answer, _ = insights(server, want=["intent"])
    with server.http() as http:
        kept = http.get(f"/v1/interactions/{answer.id}").json()
        assert kept["task"] == "insight"
        wrong = http.post("/v1/feedback", json={"id": answer.id, "edit": '{"intent": "party"}'})
        assert wrong.status_code == 400
        assert wrong.json()["error"]["param"] == "edit"
        right = {"id": answer.id, "edit": orjson.dumps({"intent": "cancel"}).decode()}
        assert http.post("/v1/feedback", json=right).status_code == 200


def test_the_engine_writes_the_intent_that_the_line_s_classifier_gives(server: Server) -> None:
    turns = [one["text"] for one in TURNS if one["role"] == "customer"]
    learned = fit([turns, turns, ["hello"], ["hello"]], ["cancel", "cancel", "order", "order"])
    adapters, listed = server.settings["adapters"]["uri"], ("order", "cancel")
    made = published.publish(
        adapters, "sales", learned, intents=listed, prefers="classical", report={}
    )

    def classified() -> dict[str, Any] | None:
        answer, told = insights(server, want=["intent"])
        with server.http() as http:
            kept = http.get(f"/v1/interactions/{answer.id}").json()
        return kept["request"].get("classified") and {"told": told} | kept["request"]["classified"]

    try:
        found = until(classified, "no replica has taken the classifier", every_s=1.0)
    finally:
        (Path(adapters) / "sales" / "intents" / "live.json").unlink()
    assert found["classifier"] == made.name
    assert found["probability"] > 0.5
    # The tiny model may pad with white space until it is cut.
    assert found["told"].get("intent", "cancel") == "cancel"
