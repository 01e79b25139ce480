"""The endpoint as the official client and curl use it."""

import json

import httpx
import openai
import pytest

from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
MESSAGES = [{"role": "user", "content": "customer: my order is late"}]


def test_chat_completion_names_its_version(server: Server) -> None:
    raw = server.client().chat.completions.with_raw_response.create(
        model="care", messages=MESSAGES, max_tokens=8
    )
    answer = raw.parse()
    assert raw.headers["x-switchboard-version"] == answer.model
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_stream_gives_chunks_and_usage_when_asked(server: Server) -> None:
    stream = server.client().chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len(chunks) > 3
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_stream_hides_usage_when_not_asked(server: Server) -> None:
    stream = server.client().chat.completions.create(
        model="base", messages=MESSAGES, max_tokens=8, stream=True
    )
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


def test_stream_is_not_buffered(server: Server) -> None:
    body = {"model": "base", "messages": MESSAGES, "max_tokens": 200, "stream": True}
    body |= {"ignore_eos": True}
    with server.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 20


def test_completions_and_responses_pass_through(server: Server) -> None:
    client = server.client()
    completion = client.completions.create(model="base", prompt="customer:", max_tokens=5)
    assert completion.choices[0].text
    response = client.responses.create(model="base", input="customer: hello", max_output_tokens=5)
    assert response.id.startswith("resp_")
    assert response.usage.output_tokens > 0


def test_streamed_response_ends_completed(server: Server) -> None:
    with server.client().responses.stream(
        model="base", input="customer: hello", max_output_tokens=5
    ) as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] in {"response.completed", "response.incomplete"}


def test_logprobs_n_and_seed_pass_through(server: Server) -> None:
    answer = server.client().chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=4,
        n=2,
        logprobs=True,
        top_logprobs=3,
        temperature=1.0,
        seed=7,
        extra_body={"top_k": 5},
    )
    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3


def test_structured_output_obeys_its_schema(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"bought": {"enum": ["yes", "no"]}},
        "required": ["bought"],
        "additionalProperties": False,
    }
    answer = server.client().chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=40,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content)["bought"] in {"yes", "no"}


def test_models_list_lobs_with_their_base_as_parent(server: Server) -> None:
    models = {model.id: model for model in server.client().models.list()}
    assert {"base", "care", "sales"} <= models.keys()
    assert models["care"].parent == "base"
    assert models["base"].parent is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nope", "messages": MESSAGES}, 404),
        ({"model": "care@99999", "messages": MESSAGES}, 404),
        ({"model": "care@../x", "messages": MESSAGES}, 400),
        ({"model": 7, "messages": MESSAGES}, 400),
        ({"model": "care"}, 400),
        ({"model": "care", "messages": MESSAGES, "max_tokens": -1}, 400),
        ({"model": "care", "messages": "hello"}, 400),
    ],
)
def test_bad_requests_get_openais_error_shape(server: Server, body: object, status: int) -> None:
    with server.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    assert {"message", "type", "param", "code"} <= answer.json()["error"].keys()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"model": "\xff"}'])
def test_malformed_bodies_are_400(server: Server, content: bytes) -> None:
    with server.http() as http:
        answer = http.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_huge_body_is_413(server: Server) -> None:
    with server.http() as http:
        answer = http.post("/v1/chat/completions", content=b" " * (5 << 20))
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/suggestions", "/v1/feedback"])
def test_no_key_no_answer(server: Server, path: str) -> None:
    with server.http(None) as http:
        answer = http.post(path, json={})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/v1/interactions/x", "/v1/adapters", "/openapi.json"]
)
def test_nothing_but_health_is_open(server: Server, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 401


def test_engine_s_own_admin_endpoints_are_not_reachable(server: Server) -> None:
    with server.http("admin") as http:
        for path in ("/v1/load_lora_adapter", "/invocations", "/tokenize", "/sleep"):
            assert http.post(path, json={}).status_code == 404


def test_key_scoped_to_a_lob_gets_403_elsewhere(server: Server) -> None:
    client = server.client("care-only")
    assert client.chat.completions.create(model="care", messages=MESSAGES, max_tokens=2).id
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="sales", messages=MESSAGES, max_tokens=2)
    assert "sales" not in {model.id for model in client.models.list()}


def test_revoked_key_is_refused_within_seconds(server: Server) -> None:
    wanted = ("keys", "create", "--name", "short-lived", "--role", "service")
    refused = server.cli(*wanted)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--lob NAME" in refused.stderr
    created = server.command(*wanted, "--all", "--expires", "90d")
    assert created.returncode == 0, created.stderr
    server.keys["short-lived"] = created.stdout.strip()
    client = server.client("short-lived")
    assert client.models.list()
    listed = server.cli("keys", "list").stdout
    assert "short-lived" in listed
    assert server.keys["short-lived"] not in listed
    id_ = next(
        w
        for line in listed.splitlines()
        if "short-lived" in line
        for w in line.split()
        if w.startswith("key_")
    )
    assert server.cli("keys", "revoke", id_).returncode == 0

    def refused() -> bool:
        try:
            return not client.models.list()
        except openai.AuthenticationError:
            return True

    # Each replica refuses it; HAProxy spreads the requests.
    until(lambda: all(refused() for _ in range(8)), "the revoked key is not refused")


def test_metrics_hold_vllms_and_ours(server: Server) -> None:
    with server.http() as http:
        text = http.get("/metrics").text
    assert "vllm:num_requests_running" in text
    assert "switchboard_requests_total" in text


def test_health_and_readiness(server: Server) -> None:
    assert httpx.get(f"{server.url}/health").json()["status"] == "live"
    assert httpx.get(f"{server.url}/ready", timeout=30).json()["status"] == "ready"
