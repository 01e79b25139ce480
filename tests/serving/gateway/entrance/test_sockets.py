"""Whose page may open a websocket, and with which key."""

import pytest

from serving.gateway.entrance.sockets import may_open, named


def test_a_page_s_key_is_among_its_subprotocols() -> None:
    asked = ["realtime", "openai-insecure-api-key.sb-1"]
    assert named({}, asked) == {b"authorization": b"Bearer sb-1"}
    own = {b"authorization": b"Bearer sb-2"}
    assert named(own, asked) == own
    assert named({}, ["realtime"]) == {}


@pytest.mark.parametrize(
    ("origin", "origins", "may"),
    [
        (None, [], True),
        (b"https://evil.example", [], False),
        (b"null", [], False),
        (b"http://127.0.0.1:8000", [], True),
        (b"http://127.0.0.1:8001", [], False),
        (b"https://desk.example", ["https://desk.example"], True),
        (b"https://desk.example.evil", ["https://desk.example"], False),
        (b"https://any.example", ["*"], True),
    ],
)
def test_only_known_origins_may_open_one(
    origin: bytes | None, origins: list[str], may: bool
) -> None:
    headers = {b"host": b"127.0.0.1:8000"} | ({} if origin is None else {b"origin": origin})
    assert may_open(headers, origins) is may
