"""A multipart form with one file, in bounded memory: what is large goes to the disk as it comes."""

from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.asgi import Disconnected, Receive
from serving.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding

FORM_BYTES = 64 << 10
"""What a form may take beside the file's bytes."""
FIELDS = 16


async def read(headers: Headers, receive: Receive, limit: int, fields: str) -> FormData:
    """Read a form; its files are to be closed.

    Args:
        headers: The request's.
        receive: Its body, which is not read yet.
        limit: Bytes of the file at most.
        fields: What it must have, in words for the client.

    Raises:
        InvalidRequest: It is no such form.
        BodyTooLarge: It is too large.
        UnsupportedEncoding: The body is compressed.
        Disconnected: The client left.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedEncoding("Send a file as it is, without content-encoding.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise InvalidRequest(f"Send multipart/form-data with {fields}.")
    body = _body(headers, receive, limit)
    parser = MultiPartParser(
        headers, body, max_files=1, max_fields=FIELDS, max_part_size=FORM_BYTES
    )
    try:
        return await parser.parse()
    except MultiPartException as exc:
        raise InvalidRequest(f"The form: {exc.message.rstrip('.')}.") from exc


async def _body(headers: Headers, receive: Receive, limit: int) -> AsyncGenerator[bytes, None]:
    """Give the body's bytes, as many as a file of `limit` bytes and its form may take."""
    too_large = BodyTooLarge(f"The file exceeds the limit of {limit} bytes.", param="file")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit + FORM_BYTES:
        raise too_large
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > limit + FORM_BYTES:
            raise too_large
        yield part
