"""What a message may hold: texts, and media from hosts that are named."""

from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.gateway.validation import media

METADATA = "http://169.254.169.254/latest/meta-data"


def chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant"}]},
        chat("hello", {"type": "text", "text": "hello"}, {"type": "input_text", "text": "hello"}),
        {"input": "hello"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
    ],
)
def test_texts_pass(request_: dict[str, Any]) -> None:
    media.check(request_, ())


@pytest.mark.parametrize(
    "part",
    [
        image(METADATA),
        {"image_url": METADATA},
        {"type": "text", "text": "look", "image_url": METADATA},
        {"type": "input_image", "image_url": METADATA},
        {"type": "audio_url", "audio_url": {"url": METADATA}},
        {"type": "video_url", "video_url": {"url": METADATA}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "image_embeds", "image_embeds": "x"},
        {"type": "image_pil", "image_pil": "x"},
        {"type": ["text"], "text": "x"},
        {"uuid": "somebody else's"},
        7,
        None,
    ],
)
def test_whatever_is_no_text_is_refused_where_no_host_is_named(part: Any) -> None:
    for request in (chat(part), {"input": chat(part)["messages"]}):
        with pytest.raises(InvalidRequest) as refused:
            media.check(request, ())
        assert refused.value.param in {"messages[0]", "input[0]"}


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://images.example/a.png", True),
        ("https://IMAGES.example/a.png?x=1", True),
        ("https://images.example.evil.example/a.png", False),
        ("https://evil.example/images.example", False),
        ("https://images.example@evil.example/a.png", False),
        ("https://evil.example\\@images.example/a.png", False),
        ("https://evil.example#@images.example/", False),
        ("https://images.example:6379/", False),
        ("https://images.example:x/", False),
        ("file:///etc/passwd", False),
        ("data:image/png;base64,AAAA", False),
        (METADATA, False),
        (" https://images.example/a.png", False),
    ],
)
def test_media_come_from_named_hosts_only(url: str, passes: bool) -> None:
    if passes:
        media.check(chat(image(url)), ["images.example"])
        return
    with pytest.raises(InvalidRequest):
        media.check(chat(image(url)), ["images.example"])


def test_media_in_the_request_itself_are_named_too() -> None:
    media.check(chat(image("data:image/png;base64,AAAA")), ["data:"])
    with pytest.raises(InvalidRequest):
        media.check(chat(image("https://data/x")), ["data:"])


@pytest.mark.parametrize("message", ["hello", 3, [], {"content": {"image_url": METADATA}}])
def test_a_message_of_another_form_is_refused(message: Any) -> None:
    with pytest.raises(InvalidRequest):
        media.check({"messages": [message]}, ())
