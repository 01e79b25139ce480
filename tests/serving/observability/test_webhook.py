import hashlib
import hmac
import json

from serving.observability import webhook
from tests.webhook_receiver import receiving


async def test_what_is_sent_is_signed_and_dated() -> None:
    with receiving() as got:
        assert await webhook.post(got.url, "s3cret", {"event": "retry", "lob": "care"}) is None
    ((headers, body),) = got.posts
    assert json.loads(body).keys() == {"event", "lob", "sent_at"}
    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers[webhook.SIGNATURE] == f"sha256={expected}"
    assert headers["content-type"] == "application/json"


async def test_a_key_goes_along_so_that_a_receiver_can_drop_what_it_has_seen() -> None:
    with receiving() as got:
        for _ in range(2):
            assert await webhook.post(got.url, None, {"event": "retry"}, key="one") is None
        assert await webhook.post(got.url, None, {"event": "retry"}) is None
    keys = [headers.get(webhook.IDEMPOTENCY) for headers, _ in got.posts]
    assert keys == ["one", "one", None]


async def test_without_a_secret_nothing_is_signed_and_without_an_address_nothing_sent() -> None:
    with receiving() as got:
        assert await webhook.post(got.url, None, {"event": "retry"}) is None
        assert await webhook.post(None, "s", {"event": "retry"}) is None
        assert await webhook.post("", "s", {"event": "retry"}) is None
    ((headers, _),) = got.posts
    assert webhook.SIGNATURE not in headers


async def test_whatever_goes_wrong_is_told_in_words_without_the_address() -> None:
    with receiving(status=500) as got:
        assert await webhook.post(got.url, None, {}) == "the webhook answers 500"
    for url in ("http://user:pw@127.0.0.1:9/x", "no url pw", "http://[pw", "ftp://pw/x"):
        fault = await webhook.post(url, None, {})
        assert fault is not None
        assert "pw" not in fault
    with receiving(delay_s=1.0) as got:
        fault = await webhook.post(got.url, None, {}, timeout_s=0.1)
    assert fault == "the webhook was not reached (ReadTimeout)"
