"""The engine writes the intent that the line's classifier gives, and corrections still fit."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from serving.config.structured.insights import Insights
from serving.intents import live, published
from tests.serving.gateway.conftest import Site
from tests.serving.intents.test_classifier import MADE
from tests.waiting import PATIENCE_S

LIST = {"late": "A late parcel", "refund": "Money back"}
TURNS = [{"role": "customer", "text": "Where is my parcel?"}, {"role": "agent", "text": "Hm."}]


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, Any]:
    return {"adapters": {"uri": str(tmp_path / "adapters")}}


@pytest.fixture(autouse=True)
def classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> published.Published:
    monkeypatch.setattr(live, "FIRST_LOOK_S", PATIENCE_S)
    return published.publish(
        str(tmp_path / "adapters"),
        "care",
        MADE,
        intents=tuple(LIST),
        prefers="classical",
        report={},
    )


async def ask(site: Site, by: str = "auto", says: str = "late", **fields: Any) -> dict[str, Any]:
    its = Insights.model_validate({"intents": LIST, "intent": {"model": by}})
    site.guard({}, insights=its)
    site.says = orjson.dumps({"intent": says}).decode()
    async with await site.http(["service"], ["care"]) as http:
        body = {"lob": "care", "conversation": TURNS, "want": ["intent"]} | fields
        answer = await http.post("/v1/insights", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
    return found


def told_engine(site: Site) -> Any:
    form = site.asked[0][1]["response_format"]
    return form["json_schema"]["schema"]["properties"]["intent"]


async def test_the_engine_may_write_the_classifier_s_intent_only(
    site: Site, classifier: published.Published
) -> None:
    answer = await ask(site)
    assert told_engine(site) == {"enum": ["late"]}
    told = answer["choices"][0]["insights"]
    assert told["intent"] == "late"
    assert told["probability"] == pytest.approx(0.909, abs=1e-3)
    (kept,) = await site.stored()
    assert kept.request["classified"] == {
        "classifier": classifier.name,
        "probability": told["probability"],
    }


async def test_a_correction_may_name_any_intent_of_the_list(site: Site) -> None:
    answer = await ask(site)
    await site.stored()
    async with await site.http(["service"], ["care"]) as http:
        edit = {"id": answer["id"], "edit": '{"intent": "refund"}'}
        assert (await http.post("/v1/feedback", json=edit)).status_code == 200


@pytest.mark.parametrize(
    "fields", [{"model": "care@2"}, {"model": "base"}, {"want": ["sentiment"]}]
)
async def test_who_wants_a_model_s_own_answer_gets_it(site: Site, fields: dict[str, Any]) -> None:
    answer = await ask(site, **fields)
    assert "probability" not in answer["choices"][0]["insights"]
    (kept,) = await site.stored()
    assert "classified" not in kept.request


async def test_a_line_that_asks_its_engine_gets_the_whole_list(site: Site) -> None:
    answer = await ask(site, by="engine", says="refund")
    assert told_engine(site) == {"enum": ["late", "refund", None]}
    assert answer["choices"][0]["insights"] == {"complete": True, "intent": "refund"}


async def test_another_s_intent_has_no_probability(site: Site) -> None:
    answer = await ask(site, says="refund")
    assert answer["choices"][0]["insights"] == {"complete": True, "intent": "refund"}
