"""Bodies: bounded in size and depth, and JSON in the strict sense."""

import orjson
import pytest

from serving.asgi import DEPTH_LIMIT, Message, deny, json_object, json_value, read_body
from serving.errors import BodyTooLarge, InvalidRequest, Unauthenticated


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'"\xc3"', b'{"a": NaN}', b'"\\ud800"', b"{} {}", b"[" * 100_000],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        json_value(body)


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
def test_depth_is_bounded_on_both_sides_of_the_limit(opener: bytes) -> None:
    closer = b"]" if opener == b"[" else b"}"
    json_value(opener * DEPTH_LIMIT + b"1" + closer * DEPTH_LIMIT)
    with pytest.raises(InvalidRequest, match="deep"):
        json_value(opener * (DEPTH_LIMIT + 1) + b"1" + closer * (DEPTH_LIMIT + 1))


def test_many_brackets_are_not_depth() -> None:
    turns = [{"role": "customer", "text": "[[[[{{{{" * 20}] * 200
    assert len(json_object(orjson.dumps({"conversation": turns}))["conversation"]) == 200
    assert json_value(orjson.dumps("[" * 1000)) == "[" * 1000


def test_bodies_of_a_million_containers_are_refused_unparsed() -> None:
    bodies = [b"[" * 4_000_000, b'{"a":' * 800_000, orjson.dumps([[]] * 1_000_000)]
    for body in bodies:
        with pytest.raises(InvalidRequest):
            json_value(body)


def test_only_an_object_is_a_request() -> None:
    for body in (b"[]", b"1", b"null", b'"x"'):
        with pytest.raises(InvalidRequest, match="object"):
            json_object(body)


@pytest.mark.parametrize("declared", [True, False])
async def test_body_over_the_limit_is_refused_declared_or_not(declared: bool) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    headers = {b"content-length": b"1000"} if declared else {}
    with pytest.raises(BodyTooLarge):
        await read_body(headers, receive, 100)


@pytest.mark.parametrize("extension", [True, False])
async def test_a_handshake_is_refused_with_the_error_or_at_least_refused(extension: bool) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"extensions": {"websocket.http.response": {}} if extension else {}}
    await deny(scope, send, Unauthenticated("No API key."))
    if not extension:
        assert sent == [{"type": "websocket.close", "code": 1008}]
        return
    start, body = sent
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 401
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert orjson.loads(body["body"])["error"]["code"] == "invalid_api_key"
