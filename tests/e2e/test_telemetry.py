"""What a server of two replicas tells of itself: one trace with the engine's, metrics, a log."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.cluster.environment import ray_folder
from tests.collector import Collector, Span
from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
SEEDED = "my seeded secret sentence"
BODY = {"lob": "care", "conversation": [{"role": "customer", "text": SEEDED}], "max_tokens": 4}


def ask(server: Server, **headers: str) -> None:
    with server.http() as http:
        answer = http.post("/v1/suggestions", json=BODY | {"stream": True}, headers=headers)
    assert answer.status_code == 200, answer.text


def test_one_trace_leads_from_the_client_through_the_gateway_into_vllm(
    server: Server, collector: Collector
) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    ask(server, traceparent=f"00-{trace}-{caller}-01")

    def whole() -> dict[str, Span]:
        found = {span.name: span for span in collector.of(trace)}
        return found if {"llm_request", "POST /v1/suggestions"} <= found.keys() else {}

    spans = until(whole, "the trace is not whole")
    (call,) = [span for span in spans.values() if span.kind == "client"]
    request, engine = spans["POST /v1/suggestions"], spans["llm_request"]
    assert (request.parent, call.parent, engine.parent) == (caller, request.id, call.id)
    assert call.attributes["gen_ai.usage.output_tokens"] == 4
    assert request.attributes["switchboard.lob"] == "care"
    until(
        lambda: [s for s in collector.spans if s.name == "store drain" and trace in s.links],
        "the batch with the interaction is not linked",
    )
    assert SEEDED.encode() not in b"".join(collector.bodies)


def scraped(server: Server) -> dict[str, Any]:
    """Of each replica, the requests it answered and the engine's generated tokens."""
    with server.http() as http:
        text = http.get("/metrics").text
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name in {"switchboard_store_up", "vllm:num_requests_running"}:
                found.setdefault(one.labels["replica"], set()).add(one.name)
    return found


def test_any_replica_s_page_has_the_metrics_of_both(server: Server) -> None:
    ask(server)
    until(lambda: len(scraped(server)) == 2, "a page lacks a replica")
    for _ in range(8):  # HAProxy spreads new connections
        found = scraped(server)
        assert len(found) == 2
        assert all(len(names) == 2 for names in found.values()), found


def test_the_log_holds_neither_texts_nor_keys(server: Server) -> None:
    ask(server)
    files = sorted(Path(ray_folder()).glob("session_*/logs/worker-*.err"))
    text = "\n".join(file.read_text(errors="replace") for file in files)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"timestamp"')]
    assert {"level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert any(line["logger"].startswith("vllm") for line in lines)
    for secret in (SEEDED, *server.keys.values()):
        assert secret not in text
