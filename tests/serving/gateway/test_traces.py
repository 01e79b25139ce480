"""A request's trace through the gateway, as a real collector on a socket receives it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from serving.config.telemetry import Telemetry
from serving.observability.tracing import Tracing
from tests.collector import Collector, Span, collecting
from tests.serving.gateway.conftest import Site

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SEEDED = "my seeded secret sentence"
ASKED = {"lob": "care", "conversation": [{"role": "customer", "text": SEEDED}]}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def texts() -> bool:
    return False


@pytest.fixture
def sample() -> float:
    return 1.0


@pytest.fixture
def tracing(collector: Collector, texts: bool, sample: float) -> Iterator[Tracing]:
    telemetry = Telemetry(otlp_endpoint=collector.url, texts=texts, sample=sample)
    made = Tracing(telemetry, "r", "1")
    yield made
    made.close()


async def asked(site: Site, headers: dict[str, str] = PARENT, **more: Any) -> tuple[int, str]:
    async with await site.http(["service"], ["care"]) as http:
        answer = await http.post("/v1/suggestions", json=ASKED | more, headers=headers)
    return answer.status_code, answer.text


async def sent(tracing: Tracing) -> None:
    await asyncio.to_thread(tracing.flush)


def named(spans: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


async def test_one_trace_holds_the_client_s_span_the_gateway_s_and_the_engine_s(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    status, _ = await asked(site, stream=True)
    assert status == 200
    await sent(tracing)
    spans = named(collector.of(TRACE))
    assert collector.paths == {"/v1/traces"}
    request, call = spans["POST /v1/suggestions"], spans["chat care@2"]
    assert (request.kind, request.parent) == ("server", CALLER)
    assert {"guards", "rules", "admission", "route"} <= spans.keys()
    assert {span.parent for span in spans.values() if span is not request} == {request.id}
    assert call.kind == "client"
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.request.model"] == "care@2"
    assert call.attributes["gen_ai.usage.output_tokens"] == 2
    assert call.events == ["gen_ai.first_token"]
    assert request.attributes["gen_ai.request.model"] == "care"
    assert request.attributes["gen_ai.response.model"] == "care@2"
    assert request.attributes["gen_ai.usage.input_tokens"] == 1
    assert request.attributes["http.response.status_code"] == 200
    assert request.service == "switchboard"


async def test_the_engine_gets_the_call_s_span_as_its_parent(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    await asked(site)
    await sent(tracing)
    call = named(collector.of(TRACE))["chat care@2"]
    headers = dict(site.asked[-1][0]["headers"])
    assert headers[b"traceparent"].decode() == f"00-{TRACE}-{call.id}-01"


async def test_a_batch_to_the_store_is_a_trace_of_its_own_linked_to_the_requests(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    await asked(site)
    (stored,) = await site.stored()
    assert "traceparent" not in stored.model_dump()
    await sent(tracing)
    (drain,) = [span for span in collector.spans if span.name == "store drain"]
    assert drain.trace != TRACE
    assert drain.links == [TRACE]
    assert drain.attributes["switchboard.interactions"] == 1


async def test_spans_hold_no_texts_and_no_keys(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    site.says = "a seeded answer"
    await asked(site)
    await asked(site, stream=True)
    await sent(tracing)
    wire = b"".join(collector.bodies)
    assert b"chat care@2" in wire
    for secret in (SEEDED, site.says, *site.keys.values()):
        assert secret.encode() not in wire


@pytest.mark.parametrize("texts", [True])
@pytest.mark.parametrize("stream", [False, True])
async def test_spans_hold_texts_where_they_are_asked_for(
    site: Site, collector: Collector, tracing: Tracing, stream: bool
) -> None:
    site.says = "a seeded answer"
    await asked(site, stream=stream)
    await sent(tracing)
    request = named(collector.of(TRACE))["POST /v1/suggestions"]
    assert SEEDED in request.attributes["gen_ai.input.messages"]
    said = json.loads(request.attributes["gen_ai.output.messages"])
    assert said[0]["message"]["content"].strip() == site.says
    assert not any(key.encode() in b"".join(collector.bodies) for key in site.keys.values())


async def test_a_refused_request_says_its_status_and_no_words_of_the_error(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    status, _ = await asked(site, model="care@999")
    assert status == 404
    await sent(tracing)
    spans = named(collector.of(TRACE))
    request = spans["POST /v1/suggestions"]
    assert request.attributes["http.response.status_code"] == 404
    assert request.failed
    assert request.attributes["error.type"] == "NotFound"
    assert request.events == []


@pytest.mark.parametrize("sample", [0.0])
async def test_a_client_that_traces_is_traced_whatever_the_share(
    site: Site, collector: Collector, tracing: Tracing
) -> None:
    await asked(site, headers={})
    await asked(site, headers={"traceparent": f"00-{'1' * 32}-{CALLER}-00"})
    await asked(site)
    await site.stored()
    await sent(tracing)
    assert {span.trace for span in collector.spans if span.name != "store drain"} == {TRACE}
    (drain,) = [span for span in collector.spans if span.name == "store drain"]
    assert drain.links == [TRACE]


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-00", f"00-{TRACE}-{CALLER}"])
async def test_a_faulty_traceparent_begins_a_new_trace(
    site: Site, collector: Collector, tracing: Tracing, traceparent: str
) -> None:
    status, _ = await asked(site, headers={"traceparent": traceparent})
    assert status == 200
    await sent(tracing)
    (request,) = [span for span in collector.spans if span.kind == "server"]
    assert request.parent == ""
    assert request.trace != TRACE


class TestWithoutACollector:
    @pytest.fixture
    def tracing(self) -> None:
        return None

    async def test_nothing_is_traced_and_the_client_s_context_is_passed_on(
        self, site: Site
    ) -> None:
        status, _ = await asked(site)
        assert status == 200
        scope, _ = site.asked[-1]
        assert dict(scope["headers"])[b"traceparent"].decode() == PARENT["traceparent"]
        assert not any(
            "traceparent" in orjson.dumps(r.model_dump(mode="json")).decode()
            for r in await site.stored()
        )


async def test_a_collector_that_is_down_costs_no_answer(site: Site) -> None:
    dead = Tracing(Telemetry(otlp_endpoint="http://127.0.0.1:1"), "r", "1")
    site.gateway._tracing = dead
    assert (await asked(site))[0] == 200
    dead._processor.shutdown()  # its exporter gives up without waiting
